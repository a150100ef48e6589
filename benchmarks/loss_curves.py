"""Does training with the core's residual stacks go the way that training in plain torch goes?

    python benchmarks/loss_curves.py [--data DIR] [--steps 500] [--channels 32] [--save FILE] [--plot PNG]

Three trainings of one autoencoder (Fig. 4b encoder and WaveNet decoder) with equal starts, batches and Adam: through
the core's stacks, in plain torch, and in plain torch once more from weights that differ by one part in ten million.
The third shows how far rounding alone drives two trainings apart. Without --data the task is synthetic: melodies of
one timbre in, the same melodies of another out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import parser_of, run_benchmark
from timing import machine

from musicstar_ext import nn
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.atomic import write_atomically
from musicstar_ext.data.crops import Crops, to_codes
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import MissingExtraError, UserError
from musicstar_ext.methods.autoencoder import reconstruction_loss
from musicstar_ext.nn.initialisation import preserve_variance

RATE = 16_000
CORE, TORCH, MOVED = "the core's stacks", "plain torch", "plain torch, start moved by 1e-7"
LEARNING_RATE = 5e-4  # at four times that losses jump up and down, and rounding decides when
SMOOTHING = 25  # steps that a curve is averaged over before curves are compared
TOLERANCE = 0.02  # nats between smoothed curves

Batch = Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def melodies(samples: int, batch: int) -> Batch:
    """(source, target) codes [B, T] of a step: four notes, soft and round in one, bright and plucked in the other."""

    def tone(pitch: float, harmonics: int, decay: float) -> NDArray[np.float64]:
        t = np.arange(samples // 4) / RATE
        waves = [np.sin(2 * np.pi * 440 * 2 ** (pitch / 12) * k * t) / k for k in range(1, harmonics + 1)]
        return np.exp(-decay * t) * np.sum(waves, axis=0)

    def draw(step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        random = np.random.default_rng(step)
        rows: tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]] = [], []
        for _ in range(batch):
            pitches = random.integers(-24, 12, 4)
            for row, harmonics, decay in zip(rows, (2, 8), (2.0, 12.0), strict=True):
                row.append((6000 * np.concatenate([tone(p, harmonics, decay) for p in pitches])).astype(np.int16))
        return to_codes(np.stack(rows[0])), to_codes(np.stack(rows[1]))

    return draw


def crops_of(folder: Path, samples: int, batch: int) -> Batch:
    """The mixtures of a prepared set's two domains."""
    tracks = ("strings-piano", "clarinet-vibraphone")
    crops = Crops(PreparedSet.open(folder), "train", tracks, samples, batch, 0)

    def draw(step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        found = crops.batch(step)
        return found[tracks[0]], found[tracks[1]]

    return draw


def train(case: str, batch: Batch, channels: int, steps: int, device: torch.device) -> list[float]:
    """The loss in nats of every step."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"pool": 160}
    encoder = nn.build_encoder(EncoderConfig(blocks=1, layers=9, channels=channels, code_channels=16, **sizes))
    decoder = nn.WaveNetDecoder(
        DecoderConfig(
            blocks=1, layers=9, residual_channels=channels, skip_channels=channels, condition_channels=16, **sizes
        )
    )
    for network in (encoder, decoder):
        preserve_variance(network)
        network.to(device)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    if case == MOVED:
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(1 + 1e-7 * torch.randn_like(parameter))
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    losses = []
    with nn.backend("core" if case == CORE else "torch"):
        for step in range(steps):
            source, target = (torch.from_numpy(codes).to(device) for codes in batch(step))
            optimizer.zero_grad(set_to_none=True)
            loss = reconstruction_loss(decoder, encoder(source), target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
    return losses


def smoothed(losses: list[float]) -> NDArray[np.float64]:
    """Means of SMOOTHING neighbouring steps."""
    window = min(SMOOTHING, len(losses))
    return np.convolve(losses, np.full(window, 1 / window), mode="valid")


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """The curves over each other, and what parts them from plain torch."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("matplotlib", "train") from None
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5), height_ratios=(3, 2))
    for case, style in ((TORCH, "-"), (CORE, "--")):
        above.plot(curves[case], style, label=case, linewidth=1)
    above.set_ylabel("nats a sample")
    above.legend()
    for case in (CORE, MOVED):
        below.plot(np.subtract(curves[case], curves[TORCH]), label=case, linewidth=0.8)
    below.set_ylabel("less plain torch")
    below.set_xlabel("step")
    below.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="a prepared set with both domains' mixtures")
    parser.add_argument("--steps", type=int, default=500, metavar="N", help="of each training (500)")
    parser.add_argument("--channels", type=int, default=32, metavar="N", help="of every layer (32)")
    parser.add_argument("--samples", type=int, default=3200, metavar="N", help="in a row of a batch (3200)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="rows in a batch (1)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.channels, options.samples = min(options.steps, 6), 8, 640
    if not (1 <= options.steps <= 100_000 and 1 <= options.channels <= 1024 and 1 <= options.batch <= 1024):
        raise UserError("--steps must be from 1 to 100000, --channels and --batch from 1 to 1024")
    if not 160 <= options.samples <= 1_000_000:
        raise UserError("--samples must be from 160 to 1000000")
    if options.device not in ("cpu", "cuda") or (options.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"--device: torch has no device {options.device!r} here")
    samples = options.samples // 160 * 160
    make = melodies if options.data is None else lambda *sizes: crops_of(options.data, *sizes)
    batch = make(samples, options.batch)
    curves = {
        case: train(case, batch, options.channels, options.steps, torch.device(options.device))
        for case in (CORE, TORCH, MOVED)
    }
    apart = {case: float(np.abs(smoothed(curves[case]) - smoothed(curves[TORCH])).max()) for case in (CORE, MOVED)}
    row = {
        "question": "loss curves",
        "data": "melodies" if options.data is None else options.data.name,
        "device": options.device,
        "steps": options.steps,
        "channels": options.channels,
        "samples": samples,
        "batch": options.batch,
        "first_loss": round(curves[TORCH][0], 4),
        "last_loss": round(float(smoothed(curves[TORCH])[-1]), 4),
        "largest_difference": {case: round(difference, 6) for case, difference in apart.items()},
        "losses": {case: [round(loss, 5) for loss in losses] for case, losses in curves.items()},
        **machine(),
        "torch": torch.__version__,
    }
    shown = {key: value for key, value in row.items() if key != "losses"}
    print(json.dumps(row if options.json else shown, indent=None if options.json else 2))
    if options.plot is not None:
        draw(curves, options.plot)
    if options.save is not None:
        write_atomically(options.save, (json.dumps([row]) + "\n").encode())
    if apart[CORE] > max(TOLERANCE, 3 * apart[MOVED]):
        raise UserError(f"the curves part by {apart[CORE]:.3f} nats, rounding alone by {apart[MOVED]:.3f}")


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
