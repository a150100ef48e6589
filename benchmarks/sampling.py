"""How many samples a second does the decoder draw?  `python benchmarks/sampling.py [--model NAME|PATH] [--json]`

The core's sampler on every instruction set of this machine, one lane and many, against the best eager PyTorch we can write
(addmm into preallocated rings, conditioning projected once per frame, residual and skip in one product; one thread). Logits
are compared before anything is timed. Without --model: the paper's full size with random weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

import _musicstar_core as core
import numpy as np
import timing
import torch

from musicstar_ext import checkpoints, models
from musicstar_ext.architecture import DecoderConfig

SAMPLES = 400
LANES = (1, 8, 16)


class EagerSampler:
    """The decoder one sample at a time in eager PyTorch, all lanes at once, one condition frame."""

    def __init__(self, config: DecoderConfig, weights: dict[str, np.ndarray], condition: np.ndarray) -> None:
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        lanes = condition.shape[0]
        frame = torch.from_numpy(condition)

        def matrix(name: str, tap: int = 0) -> torch.Tensor:
            return tensors[f"{name}.weight"][:, :, tap].t().contiguous()

        def project(name: str) -> torch.Tensor:
            return torch.addmm(tensors[f"{name}.bias"], frame, matrix(name))

        self.config = config
        self.first, self.first_bias = tensors["first.weight"][:, 0].t().contiguous(), tensors["first.bias"]
        self.first_skip, self.first_skip_bias = matrix("first_skip"), tensors["first_skip.bias"]
        self.layers = []
        for i, dilation in enumerate(config.dilations):
            layer = f"layers.{i}"
            self.layers.append(
                (
                    torch.zeros(dilation, lanes, config.residual_channels),
                    torch.cat([matrix(f"{layer}.dilated", 0), matrix(f"{layer}.dilated", 1)]).contiguous(),
                    project(f"{layer}.condition") + tensors[f"{layer}.dilated.bias"],
                    torch.cat([matrix(f"{layer}.residual"), matrix(f"{layer}.skip")], dim=1).contiguous(),
                    torch.cat([tensors[f"{layer}.residual.bias"], tensors[f"{layer}.skip.bias"]]),
                )
            )
        self.head, self.head_bias = matrix("head"), project("head_condition") + tensors["head.bias"]
        self.logits, self.logits_bias = matrix("logits"), tensors["logits.bias"]
        self.before = torch.zeros(lanes, 1)
        self.position = 0

    def step(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [B, 1] -> logits [B, A]."""
        residual = self.config.residual_channels
        x = torch.addmm(self.first_bias, torch.cat([self.before, inputs], 1), self.first)
        self.before = inputs
        s = torch.addmm(self.first_skip_bias, x, self.first_skip)
        for ring, dilated, condition, outputs, output_bias in self.layers:
            slot = ring[self.position % ring.shape[0]]
            h = torch.addmm(condition, torch.cat([slot, x], 1), dilated)
            slot.copy_(x)
            z = torch.sigmoid(h[:, :residual]) * torch.tanh(h[:, residual:])
            y = torch.addmm(output_bias, z, outputs)
            x = x + y[:, :residual]
            s = s + y[:, residual:]
        self.position += 1
        hidden = torch.relu(torch.addmm(self.head_bias, torch.relu(s), self.head))
        return torch.addmm(self.logits_bias, hidden, self.logits)

    def sample(self, count: int) -> None:
        inputs = torch.full((self.before.shape[0], 1), 128 / 255 - 0.5)
        for _ in range(count):
            codes = torch.multinomial(torch.softmax(self.step(inputs), 1), 1)
            inputs = codes / 255 - 0.5


def check(config: DecoderConfig, weights: dict[str, np.ndarray], condition: np.ndarray) -> None:
    """The core and the baseline give the same logits for the same codes; else there is nothing to time."""
    codes = np.random.default_rng(1).integers(0, 256, 32).astype(np.uint8)
    eager = EagerSampler(config, weights, condition[:1])
    inputs = torch.tensor([128, *codes[:-1].tolist()])[:, None] / 255 - 0.5
    expected = torch.cat([eager.step(value[None]) for value in inputs]).numpy()
    for isa in core.supported_isas():
        sampler = core.Sampler(dataclasses.asdict(config), weights, isa=isa)
        found = sampler.score(condition[:1, None], codes[None])[0]
        np.testing.assert_allclose(found, expected, atol=1e-3 * max(1.0, np.abs(expected).max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model or a checkpoint; default: the paper's size, random weights")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    if options.model:
        checkpoint = checkpoints.load(models.find(options.model))
        config, weights = checkpoint.networks["decoder"], checkpoint.weights["decoder"]
        assert isinstance(config, DecoderConfig)
    else:
        config = DecoderConfig()
        weights = {
            name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
            for name, shape in config.tensor_shapes().items()
        }
    if config.kernel_size != 2:
        parser.error("the baseline is written for kernel size 2")
    config = dataclasses.replace(config, pool=1 << 20)  # one condition frame for all that is timed
    condition = rng.standard_normal((max(LANES), config.condition_channels)).astype(np.float32)
    torch.set_num_threads(1)
    machine = timing.machine()
    if not options.json:
        print(f"{machine['processor']}, commit {machine['commit']}, torch {torch.__version__}; samples a second in all, one thread")
    with torch.inference_mode():
        check(config, weights, condition)
        for lanes in LANES:
            cases = {}
            eager = EagerSampler(config, weights, condition[:lanes])
            cases["eager PyTorch"] = lambda eager=eager: eager.sample(SAMPLES // 4)
            for isa in core.supported_isas():
                sampler = core.Sampler(dataclasses.asdict(config), weights, lanes=lanes, isa=isa)
                uniforms = rng.random((lanes, SAMPLES), dtype=np.float32)
                frames = condition[:lanes, None].copy()
                cases[isa] = lambda sampler=sampler, frames=frames, uniforms=uniforms: sampler.sample(frames, uniforms)
            times = timing.interleaved(cases)
            baseline = lanes * (SAMPLES // 4) / times["eager PyTorch"][0]
            for name, (median, spread) in times.items():
                rate = lanes * (SAMPLES // 4 if name == "eager PyTorch" else SAMPLES) / median
                row = {
                    "question": "sampling",
                    "case": name,
                    "device": "cpu",
                    "precision": "fp32",
                    "lanes": lanes,
                    "threads": 1,
                    "samples_per_second": round(rate),
                    "spread": round(spread / median, 3),
                    "baseline": round(baseline),
                    "ratio": round(rate / baseline, 2),
                    **machine,
                }
                if options.json:
                    print(json.dumps(row))
                else:
                    print(f"{lanes:3d} lanes  {name:14s} {rate:10,.0f}  +-{spread / median:4.0%}  {rate / baseline:6.1f}x eager")


if __name__ == "__main__":
    main()
