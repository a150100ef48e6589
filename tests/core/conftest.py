from __future__ import annotations

import _musicstar_core as core
import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `isa` once per instruction set of this machine."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", core.supported_isas())
