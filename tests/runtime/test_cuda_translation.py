"""Translation on a GPU, real or emulated: it gives what the CPU gives."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from random_networks import FP32_TOLERANCE, SMALL_DECODER, random_codes, random_condition, random_weights, sizes

from musicstar_ext import UserError, translate
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.translator import Translator

pytestmark = pytest.mark.cuda
Tone = Callable[..., np.ndarray]

ENCODER = EncoderConfig(blocks=1, layers=4, channels=32, code_channels=4, pool=40)


@pytest.fixture(autouse=True)
def _gpu() -> None:
    try:
        core.cuda_devices()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def on_gpu(tiny_checkpoint: Checkpoint) -> Translator:
    return Translator(tiny_checkpoint, choose_engine("cuda", "fp32", 1))


@pytest.fixture
def on_cpu(tiny_checkpoint: Checkpoint) -> Translator:
    return Translator(tiny_checkpoint, choose_engine("cpu", "fp32", 1))


@pytest.mark.parametrize("lanes", [1, 3])
def test_draws_equal_the_cpus(
    on_gpu: Translator, on_cpu: Translator, tone: Tone, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicstar_ext.runtime.lanes.SHORTEST", 0.01)  # seconds of a lane
    audio = tone(0.05)
    found = on_gpu.translate(audio, 16_000, lanes=lanes, seed=3)
    np.testing.assert_array_equal(found, on_cpu.translate(audio, 16_000, lanes=lanes, seed=3))


def test_guided_draws_equal_the_cpus(tiny_checkpoint: Checkpoint, tone: Tone) -> None:
    checkpoint, audio = dataclasses.replace(tiny_checkpoint, guidance=2.0), tone(0.03)
    outputs = [
        Translator(checkpoint, choose_engine(device, "fp32", 1)).translate(audio, 16_000, lanes=1, guidance=guidance)
        for device in ("cuda", "cpu")
        for guidance in ("auto", 2.0)
    ]
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])


def test_a_stream_in_blocks_is_the_whole(on_gpu: Translator, tone: Tone) -> None:
    audio = tone(0.05)
    whole = on_gpu.translate(audio, 16_000, lanes=1, normalize="off")
    blocks = list(on_gpu.stream(np.split(audio, [1, 100, 500]), 16_000))
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_the_command(
    tiny_model: Path, tone: Tone, write_wav: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = write_wav("in.wav", tone(0.03)), tmp_path / "out.wav"
    command = [str(source), "-o", str(target), "--model", str(tiny_model), "--device", "cuda", "--json"]
    assert translate.main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    name = core.cuda_devices()[0]["name"]
    assert (summary["device"], summary["device_name"], summary["precision"]) == ("cuda:0", name, "bf16")
    assert summary["kernels"].keys() == {"encoder", "decoder"}
    assert target.exists()
    assert translate.main([*command[:-2], "cuda:7"]) == 2
    assert "device cuda:7: this machine has" in capsys.readouterr().err
    assert translate.main([*command[:-1], "--precision", "int8"]) == 2
    assert "precision int8 runs on the CPU only" in capsys.readouterr().err


def test_too_little_memory_is_said_in_one_line(tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator(tiny_checkpoint, choose_engine("cuda", "fp32", 1))

    def none_left(*_: object) -> None:
        raise core.CudaOutOfMemoryError("the GPU's memory does not suffice: 99 bytes more were asked for")

    monkeypatch.setattr(core, "CudaEncoder", none_left)
    with pytest.raises(UserError, match=r"^device cuda:0: .*99 bytes more .*--lanes"):
        translator.translate(np.full(100, 0.1), 16_000)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", FP32_TOLERANCE), ("bf16", 0.05)])
def test_the_encoder_equals_the_reference(precision: str, tolerance: float) -> None:
    weights, codes = random_weights(ENCODER), random_codes(200)
    encoder = core.CudaEncoder(sizes(ENCODER), weights, precision=precision)
    expected = core.ReferenceEncoder(sizes(ENCODER), weights).encode(codes)
    whole = np.concatenate([encoder.push(codes), encoder.finish()])
    np.testing.assert_allclose(whole, expected, atol=tolerance)
    pieces = [encoder.push(piece) for piece in np.split(codes, [0, 1, 90, 199])]
    np.testing.assert_array_equal(np.concatenate([*pieces, encoder.finish()]), whole)
    encoder.push(codes[:50])
    encoder.reset()
    np.testing.assert_array_equal(np.concatenate([encoder.push(codes), encoder.finish()]), whole)
    assert encoder.precision == precision
    assert encoder.kernel == ("general fp32" if precision == "fp32" else "fused bf16 tensor cores")
    assert encoder.look_ahead == core.Encoder(sizes(ENCODER), weights).look_ahead
    assert encoder.memory_bytes > 0


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_sampler_draws_as_the_reference(guidance: float) -> None:
    samples, lanes, guided = 60, 3, guidance != 1
    weights = random_weights(SMALL_DECODER)
    condition = np.stack([random_condition(SMALL_DECODER, samples, seed=lane) for lane in range(lanes)])
    uniforms = np.stack([core.philox_uniforms(5, 7 + lane, 0, samples) for lane in range(lanes)])
    sampler = core.CudaSampler(sizes(SMALL_DECODER), weights, lanes, precision="fp32", guided=guided)
    found = sampler.sample(condition, uniforms, 1.0, guidance)
    reference = core.ReferenceSampler(sizes(SMALL_DECODER), weights, guided)
    for lane in range(lanes):
        reference.reset()
        expected = reference.sample(condition[lane], uniforms[lane], 1.0, guidance)
        np.testing.assert_array_equal(found[lane], expected)
    # The same uniforms, made on the GPU.
    sampler.reset()
    drawn = sampler.draw(condition, samples, seed=5, first_lane=7, guidance=guidance)
    np.testing.assert_array_equal(drawn, found)
    assert sampler.position == samples
    sampler.reset()
    logits = sampler.score(condition, found, guidance)
    reference.reset()
    expected = reference.score(condition[0], found[0], guidance)
    np.testing.assert_allclose(logits[0], expected, atol=2 * guidance * FP32_TOLERANCE)
    assert (sampler.lanes, sampler.device, sampler.precision) == (lanes, 0, "fp32")
    assert sampler.guided == guided
    if not guided:
        with pytest.raises(ValueError, match="guidance other than 1"):
            sampler.draw(condition, samples, seed=5, first_lane=7, guidance=2.0)
    assert "fp32" in sampler.kernel
    assert sampler.description
    assert sampler.memory_bytes > 0


def test_bad_arguments() -> None:
    encoder_sizes, decoder_sizes = sizes(ENCODER), sizes(SMALL_DECODER)
    encoder_weights, decoder_weights = random_weights(ENCODER), random_weights(SMALL_DECODER)
    with pytest.raises(core.CudaError, match="there is no GPU 99"):
        core.CudaEncoder(encoder_sizes, encoder_weights, device=99)
    with pytest.raises(core.CudaError, match="-1"):
        core.CudaSampler(decoder_sizes, decoder_weights, device=-1)
    for make, weights, config in (
        (core.CudaEncoder, encoder_weights, encoder_sizes),
        (core.CudaSampler, decoder_weights, decoder_sizes),
    ):
        with pytest.raises(ValueError, match="int8"):
            make(config, weights, precision="int8")
        with pytest.raises(ValueError, match="kernels must be"):
            make(config, weights, kernels="fancy")
        with pytest.raises(ValueError, match="is missing"):
            make(config, {})
    with pytest.raises(ValueError, match="lanes"):
        core.CudaSampler(decoder_sizes, decoder_weights, lanes=0)
    encoder = core.CudaEncoder(encoder_sizes, encoder_weights)
    with pytest.raises(TypeError, match="codes must have dtype uint8"):
        encoder.push(np.zeros(3, np.int32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="C-contiguous"):
        encoder.push(np.zeros(6, np.uint8)[::2])
    sampler = core.CudaSampler(decoder_sizes, decoder_weights, precision="fp32")
    condition = random_condition(SMALL_DECODER, 10)[None]
    with pytest.raises(ValueError, match="uniforms must lie"):
        sampler.sample(condition, np.ones((1, 10), np.float32))
    with pytest.raises(ValueError, match="condition must have shape"):
        sampler.draw(condition, 1000, 0, 0)
    with pytest.raises(ValueError, match="count must be"):
        sampler.draw(condition, -1, 0, 0)
    with pytest.raises(ValueError, match="codes must be below"):
        sampler.score(condition, np.full((1, 10), 255, np.uint8))
    with pytest.raises(ValueError, match="temperature"):
        sampler.draw(condition, 10, 0, 0, temperature=-1.0)
    assert sampler.position == 0


def test_other_threads_run_during_a_call() -> None:
    sampler = core.CudaSampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER), precision="fp32")
    ticks: list[float] = []
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    counter = threading.Thread(target=count)
    counter.start()
    begin = end = 0.0
    samples = 100
    while end - begin < 0.05:  # long enough to tell, however fast the GPU is
        samples *= 2
        condition = random_condition(SMALL_DECODER, samples)[None]
        sampler.reset()
        begin = time.perf_counter()
        sampler.draw(condition, samples, seed=0, first_lane=0)
        end = time.perf_counter()
    stop.set()
    counter.join()
    assert any(begin + 0.2 * (end - begin) < tick < end - 0.2 * (end - begin) for tick in ticks)


def again_and_again(call: Callable[[], object]) -> None:
    """However fast the GPU is, Ctrl-C comes during a call sooner or later."""
    while True:
        call()


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """A function that sends this process a SIGINT soon."""
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    yield timer.start
    timer.cancel()


def test_ctrl_c_ends_a_call_and_leaves_the_sampler_whole(ctrl_c: Callable[[], None]) -> None:
    config = DecoderConfig(
        blocks=1, layers=2, residual_channels=8, skip_channels=8, condition_channels=4, classes=16, pool=1_000_000
    )
    sampler = core.CudaSampler(sizes(config), random_weights(config), precision="fp32")
    condition = random_condition(config, 1)[None]
    first = sampler.draw(condition, 20, seed=1, first_lane=0)

    def draw() -> None:
        sampler.reset()
        sampler.draw(condition, 1_000_000, seed=1, first_lane=0)

    ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        again_and_again(draw)
    sampler.reset()
    np.testing.assert_array_equal(sampler.draw(condition, 20, seed=1, first_lane=0), first)


def test_ctrl_c_ends_a_push_and_resets_the_encoder(ctrl_c: Callable[[], None]) -> None:
    encoder = core.CudaEncoder(sizes(ENCODER), random_weights(ENCODER))
    codes = random_codes(100)
    expected = np.concatenate([encoder.push(codes), encoder.finish()])
    ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        again_and_again(lambda: encoder.push(codes))
    encoder.reset()
    np.testing.assert_array_equal(np.concatenate([encoder.push(codes), encoder.finish()]), expected)
