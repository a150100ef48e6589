"""Choosing where a model runs, and saying what there is."""

from __future__ import annotations

import json

import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.runtime import capabilities
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.precision import AUTO, PRECISIONS


def test_defaults() -> None:
    engine = choose_engine("cpu")
    assert engine.device == "cpu"
    assert engine.isa == core.active_isa()
    assert engine.precision == AUTO[engine.isa]
    assert engine.threads >= 1
    assert choose_engine("cpu", "fp32", 3).threads == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpu",), "unknown device 'gpu'"),
        (("cuda:x",), "unknown device"),
        (("cpu", "fp64"), "unknown precision 'fp64'"),
        (("cpu", "FP32"), "unknown precision 'FP32': auto, fp32, bf16, int8"),
        (("cpu", ""), "unknown precision ''"),
        (("cpu", "fp32", -1), "threads must be a whole number"),
        (("cpu", "fp32", 1025), "threads must be a whole number"),
        (("cpu", "fp32", True), "threads must be a whole number"),
    ],
)
def test_what_cannot_be_had(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_engine(*arguments)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_can_be_had(precision: str) -> None:
    assert choose_engine("cpu", precision).precision == precision


def test_auto_knows_every_instruction_set() -> None:
    assert set(core.supported_isas()) <= AUTO.keys()
    assert "int8" not in AUTO.values()  # it has to be asked for: see runtime.precision


@pytest.mark.parametrize("isa", core.supported_isas())
def test_musicstar_isa_is_obeyed(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("MUSICSTAR_ISA", isa)
    engine = choose_engine("cpu")
    assert engine.isa == isa
    assert engine.precision == AUTO[isa]


def test_unknown_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICSTAR_ISA", "sse9")
    with pytest.raises(UserError, match="sse9"):
        choose_engine("cpu")


def test_capabilities_are_json() -> None:
    found = json.loads(json.dumps(capabilities()))
    assert found["isa"]["active"] in found["isa"]["supported"]
    assert found["precisions"] == {"auto": AUTO[found["isa"]["active"]], "supported": ["fp32", "bf16", "int8"]}
    assert found["cuda"]["devices"] or found["cuda"]["reason"]
