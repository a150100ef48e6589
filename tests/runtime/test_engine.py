"""Choosing where a model runs, and saying what there is."""

from __future__ import annotations

import json

import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.runtime import capabilities
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.engine import choose_engine


def test_defaults() -> None:
    engine = choose_engine()
    assert (engine.device, engine.precision) == ("cpu", "fp32")
    assert engine.isa == core.active_isa()
    assert engine.threads >= 1
    assert choose_engine("cpu", "fp32", 3).threads == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpu",), "unknown device 'gpu'"),
        (("cuda:x",), "unknown device"),
        (("cpu", "fp64"), "unknown precision 'fp64'"),
        (("cpu", "bf16"), "runs fp32 on the CPU"),
        (("cpu", "int8"), "runs fp32 on the CPU"),
        (("cpu", "fp32", -1), "threads must be a whole number"),
        (("cpu", "fp32", 1025), "threads must be a whole number"),
        (("cpu", "fp32", True), "threads must be a whole number"),
    ],
)
def test_what_cannot_be_had(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_engine(*arguments)


def test_cuda_says_why_not() -> None:
    with pytest.raises(UserError, match="device cuda: ") as raised:
        choose_engine("cuda")
    assert "\n" not in str(raised.value)


def test_cuda_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "cuda_devices", lambda: [{"index": 0}])
    with pytest.raises(UserError, match="translates on the CPU"):
        choose_engine("cuda:0")
    with pytest.raises(UserError, match="has 1 GPUs"):
        choose_engine("cuda:1")


@pytest.mark.parametrize("isa", core.supported_isas())
def test_musicstar_isa_is_obeyed(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("MUSICSTAR_ISA", isa)
    assert choose_engine().isa == isa


def test_unknown_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICSTAR_ISA", "sse9")
    with pytest.raises(UserError, match="sse9"):
        choose_engine()


def test_capabilities_are_json() -> None:
    found = json.loads(json.dumps(capabilities()))
    assert found["isa"]["active"] in found["isa"]["supported"]
    assert found["precisions"] == ["fp32"]
    assert found["cuda"]["devices"] or found["cuda"]["reason"]
