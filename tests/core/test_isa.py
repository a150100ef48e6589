from __future__ import annotations

import os
import subprocess
import sys

import _musicstar_core as core
import pytest
from random_networks import SMALL_DECODER, SMALL_ENCODER, random_weights, sizes


def active_isa_with(forced: str) -> subprocess.CompletedProcess[str]:
    program = "import _musicstar_core as core; print(core.active_isa())"
    environment = {**os.environ, "MUSICSTAR_ISA": forced}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_the_fastest_is_the_default(monkeypatch):
    monkeypatch.delenv("MUSICSTAR_ISA", raising=False)
    assert core.supported_isas()[0] == "generic"
    assert core.active_isa() == core.supported_isas()[-1]


def test_the_environment_forces_one(isa):
    assert active_isa_with(isa).stdout.strip() == isa


def test_the_forced_one_runs(isa):
    assert core.Encoder(sizes(SMALL_ENCODER), random_weights(SMALL_ENCODER), isa=isa).isa == isa
    assert core.Sampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER), isa=isa).isa == isa


def test_an_unknown_one_is_an_error():
    result = active_isa_with("sse9")
    assert result.returncode != 0
    assert "MUSICSTAR_ISA 'sse9' is unknown; here: generic" in result.stderr
    with pytest.raises(ValueError, match="unknown"):
        core.Encoder(sizes(SMALL_ENCODER), random_weights(SMALL_ENCODER), isa="sse9")
