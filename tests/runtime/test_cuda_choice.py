"""Choosing a GPU, and every way in which there is none: one line that says why. Nothing here needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import _musicstar_core
import numpy as np
import pytest
import soundfile
from random_networks import SMALL_DECODER, SMALL_ENCODER, random_weights, sizes

from musicstar_ext import translate
from musicstar_ext.errors import UserError
from musicstar_ext.runtime import capabilities, gpus
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.engine import Engine, choose_engine, device_errors
from musicstar_ext.runtime.lanes import choose_lanes

NO_CUDA = "no usable GPU: this build has no CUDA"
SetGpus = Callable[..., None]


def gpu(index: int, capability: str = "9.0", emulated: bool = False) -> dict[str, Any]:
    name = "emulated GPU" if emulated else f"NVIDIA Number {index}"
    return {
        "index": index,
        "name": name,
        "compute_capability": capability,
        "memory_bytes": 1 << 36,
        "emulated": emulated,
    }


@pytest.fixture
def set_gpus(monkeypatch: pytest.MonkeyPatch) -> SetGpus:
    """A function (gpu, ...): what the core then finds, and is proven on; or (reason): why it finds none."""
    monkeypatch.setattr(gpus, "PROVEN_CAPABILITIES", frozenset({(7, 5), (8, 6), (9, 0)}))

    def pretend(*found: dict[str, Any] | str) -> None:
        def devices() -> list[Any]:
            if isinstance(found[0], str):
                raise RuntimeError(found[0])
            return list(found)

        monkeypatch.setattr(core, "cuda_devices", devices)

    return pretend


def test_auto_takes_the_gpu(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0), gpu(1))
    engine = choose_engine()
    assert (engine.device, engine.device_name, engine.precision) == ("cuda:0", "NVIDIA Number 0", "bf16")
    assert engine.isa == "sm_90"
    assert choose_engine("cuda:1", "fp32").device == "cuda:1"
    assert choose_engine("cpu").device == "cpu"


def test_auto_takes_the_first_that_it_can_use(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0, "7.5"), gpu(1, emulated=True), gpu(2, "8.6"))
    assert choose_engine().device == "cuda:2"
    assert choose_engine().isa == "sm_86"


@pytest.mark.parametrize(
    "found",
    [NO_CUDA, gpu(0, "7.5"), gpu(0, "12.0"), gpu(0, emulated=True)],
    ids=["none", "old", "not proven", "emulated"],
)
def test_auto_falls_back_to_the_cpu(set_gpus: SetGpus, found: Any) -> None:
    set_gpus(found)
    assert choose_engine().device == "cpu"
    assert choose_engine().gpu is None


def test_auto_takes_the_cpu_for_int8(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0))
    assert choose_engine(precision="int8").device == "cpu"


def test_an_emulated_gpu_has_to_be_named(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0, emulated=True))
    engine = choose_engine("cuda")
    assert (engine.device, engine.device_name, engine.isa) == ("cuda:0", "emulated GPU", "sm_90 (emulated)")


@pytest.mark.parametrize(
    ("found", "arguments", "message"),
    [
        (NO_CUDA, ("cuda",), f"device cuda: {NO_CUDA}"),
        ("no usable GPU: no NVIDIA driver is installed", ("cuda:1",), "device cuda:1: no usable GPU: no NVIDIA driver"),
        (gpu(0), ("cuda:7",), "device cuda:7: this machine has 1 GPU, counted from 0"),
        (gpu(0), ("cuda:99999999999999999999",), "unknown device"),
        (gpu(0), ("cuda:-1",), "unknown device 'cuda:-1': auto, cpu, cuda or cuda:N"),
        (gpu(0, "7.5"), ("cuda",), "NVIDIA Number 0 has compute capability 7.5, and 8.0 is the least"),
        (gpu(0), ("cuda", "int8"), "device cuda:0: precision int8 runs on the CPU only .*; a GPU has fp32 and bf16"),
        (gpu(0), ("cuda", "fp64"), "unknown precision 'fp64': auto, fp32, bf16, int8"),
    ],
)
def test_what_cannot_be_had(set_gpus: SetGpus, found: Any, arguments: tuple, message: str) -> None:
    set_gpus(found)
    with pytest.raises(UserError, match=message) as raised:
        choose_engine(*arguments)
    assert "\n" not in str(raised.value)


def test_the_command_says_it_in_one_line(
    set_gpus: SetGpus, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_gpus(NO_CUDA)
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, np.full(100, 0.1), 16_000)
    status = translate.main([str(source), "-o", str(target), "--model", str(tiny_model), "--device", "cuda"])
    assert status == 2
    assert capsys.readouterr().err == f"musicstar_ext.translate: error: device cuda: {NO_CUDA}\n"
    assert not target.exists()


def test_errors_of_the_gpu_name_it(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0))
    engine = choose_engine("cuda")
    with pytest.raises(UserError, match=r"^device cuda:0: 12 bytes; fewer lanes \(--lanes\)"), device_errors(engine):
        raise core.CudaOutOfMemoryError("12 bytes")
    with pytest.raises(UserError, match=r"^device cuda:0: lost$"), device_errors(engine):
        raise core.CudaError("lost")
    with pytest.raises(RuntimeError, match=r"^a bug$"), device_errors(engine):
        raise RuntimeError("a bug")


def test_cuda_errors_are_runtime_errors() -> None:
    assert issubclass(core.CudaError, RuntimeError)
    assert issubclass(core.CudaOutOfMemoryError, core.CudaError)


@pytest.mark.skipif(bool(_musicstar_core.cuda_build()), reason="this build has CUDA")
def test_a_build_without_cuda_says_so() -> None:
    with pytest.raises(core.CudaError, match=NO_CUDA):
        core.CudaEncoder(sizes(SMALL_ENCODER), random_weights(SMALL_ENCODER))
    with pytest.raises(core.CudaError, match=NO_CUDA):
        core.CudaSampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER))


def test_lanes_of_a_gpu_follow_the_length_alone() -> None:
    assert choose_lanes("auto", None, threads=2, gpu=True) == 1
    assert choose_lanes("auto", 0.3, threads=2, gpu=True) == 1
    assert choose_lanes("auto", 180.0, threads=2, gpu=True) == 180
    assert choose_lanes("auto", 36_000.0, threads=2, gpu=True) == 1024
    assert choose_lanes(2000, 1.0, threads=2, gpu=True) == 2000


def test_capabilities_name_the_gpus(set_gpus: SetGpus) -> None:
    set_gpus(gpu(0, "7.5"), gpu(1))
    found = capabilities()
    assert found["devices"] == ["cpu", "cuda:1"]
    assert found["auto"] == "cuda:1"
    assert found["cuda"]["precisions"] == {"auto": "bf16", "supported": ["fp32", "bf16"]}
    set_gpus(NO_CUDA)
    found = capabilities()
    assert (found["devices"], found["auto"], found["cuda"]["reason"]) == (["cpu"], "cpu", NO_CUDA)


def test_engines_are_compared_by_what_was_chosen() -> None:
    one, other = Engine("cpu", "fp32", "avx2", 1), Engine("cpu", "fp32", "avx2", 1)
    one.kernels["decoder"] = "general fp32"
    assert one == other
