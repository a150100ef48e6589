"""The baselines of GPU benchmarks compute our decoder, as far as a CPU can tell; and the scripts start."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import random_weights

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import build_network, load_weights
from musicstar_ext.runtime.core import core

ROOT = Path(__file__).parents[2]
CONFIG = DecoderConfig(
    blocks=2, layers=3, residual_channels=8, skip_channels=8, condition_channels=4, classes=16, pool=10
)


@pytest.fixture
def samplers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cuda_samplers

    return cuda_samplers


@pytest.fixture
def condition():
    return np.random.default_rng(1).standard_normal((2, CONFIG.condition_channels)).astype(np.float32)


@torch.inference_mode()
def test_pytorch_baselines_give_the_logits_of_the_module(samplers, condition):
    weights = random_weights(CONFIG)
    network = build_network(CONFIG)
    load_weights(network, weights)
    codes = np.random.default_rng(2).integers(0, 16, (2, 30))
    frame = torch.from_numpy(condition)
    expected = network(torch.from_numpy(codes), frame[:, :, None].expand(-1, -1, 3)).transpose(1, 2)
    inputs = torch.cat([torch.zeros(2, 1), torch.from_numpy(codes[:, :-1]) / 255 - 0.5], 1)
    for name, build in samplers.BASELINES.items():
        sampler = build(CONFIG, weights, frame)
        found = torch.stack([sampler.step(inputs[:, t : t + 1].float()) for t in range(30)], 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)
        sampler.sample(3)
        half = build(CONFIG, weights, frame.bfloat16())
        assert half.step(inputs[:, :1].bfloat16()).dtype == torch.bfloat16


def decode_as_nv_wavenet(arrays, condition, uniforms, layers):
    """Codes [T] by nv-wavenet's equations, as its reference states them, from what our driver reads."""
    numbers = iter(arrays)
    previous, current = next(numbers), next(numbers)  # embeddings [A, R]
    weights = [[next(numbers) for _ in range(7)] for _ in range(layers)]
    head, head_bias, logits, logits_bias = numbers
    residual, dilations = previous.shape[1], [1, 2, 4]
    past: list[list[np.ndarray]] = [[] for _ in weights]
    codes = [128 % 16, 128 % 16]
    for uniform in uniforms:
        x, skip = previous[codes[-2]] + current[codes[-1]], 0.0
        for layer, (w_past, w_current, bias, w_residual, b_residual, w_skip, b_skip) in enumerate(weights):
            dilation = dilations[layer % 3]
            past[layer].append(x)
            time = len(past[layer]) - 1 - dilation
            before = past[layer][time] if time >= 0 else np.zeros(residual)
            a = before @ w_past + x @ w_current + bias + condition[layer]
            z = np.tanh(a[:residual]) / (1 + np.exp(-a[residual:]))  # the filter comes first, then the gate
            x = x + z @ w_residual + b_residual
            skip = skip + z @ w_skip + b_skip
        y = np.maximum(np.maximum(skip, 0) @ head + head_bias, 0) @ logits + logits_bias
        probabilities = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
        codes.append(int((np.cumsum(probabilities) < uniform).sum()))
    return np.array(codes[2:], np.uint8)


@torch.inference_mode()
def test_nv_wavenet_is_given_our_decoder(samplers, condition, monkeypatch):
    monkeypatch.setattr(samplers, "START", 128 % 16 / 255 - 0.5)  # of a decoder with 16 classes
    weights = {name: 3 * array for name, array in random_weights(CONFIG).items()}
    arrays = samplers.nv_wavenet_weights(CONFIG, weights, condition[:1])
    projected = samplers.projected(CONFIG, weights, condition)
    assert projected.shape == (6, 2, 16)
    uniforms = np.random.default_rng(3).random(40).astype(np.float32)
    codes = decode_as_nv_wavenet(arrays, projected[:, 0], uniforms, layers=6)
    logits = samplers.logits_of_nv_wavenet(CONFIG, weights, condition[:1], codes)
    assert samplers.distance_of_draws(logits, codes, uniforms).max() < 1e-5
    assert samplers.distance_of_draws(logits, (codes + 1) % np.uint8(16), uniforms).max() > 0.1


def program(folder: Path, body: str) -> Path:
    path = folder / "nv_wavenet"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


FULL = DecoderConfig(blocks=1, layers=2, condition_channels=4)
ANSWERS = """
print("ready", flush=True)
for line in sys.stdin:
    print("done" if line == "run\\n" else " ".join(["7"] * 8192), flush=True)
"""


def test_nv_wavenet_as_a_process(samplers, condition, tmp_path):
    other = samplers.NvWavenet(program(tmp_path, ANSWERS), FULL, random_weights(FULL), condition[:1])
    try:
        other.sample(3)
        assert (other.codes() == 7).all()
        with pytest.raises(UserError, match="nv-wavenet differs from the equations"), torch.inference_mode():
            other.check(samples=20)
    finally:
        other.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('no GPU', file=sys.stderr); sys.exit(1)", "nv-wavenet ended: no GPU"),
        ("sys.stdin.read()", "gave no answer in 0.2 s"),
    ],
)
def test_nv_wavenet_that_does_not_start_is_one_line(samplers, condition, tmp_path, monkeypatch, body, message):
    monkeypatch.setattr(samplers.NvWavenet, "WAIT", 0.2 if "read" in body else 20)
    with pytest.raises(UserError, match=message):
        samplers.NvWavenet(program(tmp_path, body), FULL, random_weights(FULL), condition[:1])


def test_nv_wavenet_has_one_size(samplers, condition, tmp_path):
    with pytest.raises(UserError, match="nv-wavenet is built for 128"):
        samplers.NvWavenet(tmp_path / "none", CONFIG, random_weights(CONFIG), condition)
    with pytest.raises(UserError, match="none: cannot be started"):
        samplers.NvWavenet(tmp_path / "none", FULL, random_weights(FULL), condition)


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "benchmarks" / arguments[0]), *arguments[1:]]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_gpu_script_shows_every_step():
    result = script("gpu.sh", "--dry-run", NV_WAVENET="checkout", CLIPS="clips")
    assert result.returncode == 0, result.stderr
    for part in ("cmake --build", "-ts=cuda", "-m cuda", "racecheck", "--nv-wavenet", "training-cuda.json"):
        assert part in result.stdout
    for line in result.stdout.splitlines():
        if line.startswith("+ ") and "benchmarks/" in line:
            files = [word for word in line.split() if word.startswith("benchmarks/") and "results" not in word]
            assert all((ROOT / file).exists() for file in files), line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpu.sh", "fly"), "no step fly"),
        (("gpu.sh", "build"), "finds no GPU here"),
        (("build_nv_wavenet.sh", "/nowhere", "/nowhere/out"), "nv_wavenet"),
    ],
)
def test_scripts_refuse_in_one_line(arguments, message, tmp_path):
    for name in ("nvcc", "nvidia-smi"):  # one that finds nothing, whatever this machine has
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\nexit 1\n")
        tool.chmod(0o755)
    result = script(*arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_training_on_a_gpu_that_is_not_there_is_one_line():
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), "--device", "cuda"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "cuda: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.cuda
def test_quick_runs_on_a_gpu():
    """Real or emulated: draws equal the reference's, runs repeat, and the checks of the others pass."""
    try:
        core.cuda_devices()
    except RuntimeError as error:
        pytest.skip(str(error))
    cuda = ("--device", "cuda")
    one_kind = ("encoder.py", *cuda, "--kinds", "music-star")
    for arguments in (("cuda_repeat.py",), ("sampling.py", *cuda), one_kind, ("translate.py", *cuda)):
        command = [sys.executable, str(ROOT / "benchmarks" / arguments[0]), *arguments[1:], "--quick", "--json"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        name = arguments[0].removesuffix(".py")
        assert {row["question"] for row in rows} == ({"draws", "repeat"} if name == "cuda_repeat" else {name})
        assert all(row["gpu"] for row in rows)
