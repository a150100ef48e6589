"""How many samples a second do the crops of a training take from a prepared set?

    python benchmarks/crops.py [--data DIR] [--batch 16] [--seconds 1] [--json]

Two aligned tracks of random pieces on one core, through memory maps: as mu-law codes, as audio, with a pitch-shifted
twin, and gathered from tracks that are kept whole on the device (the GPU where there is one). Without --data a set of
an hour is written to a temporary folder first. The baseline is the obvious way: each row looked up, padded and stacked.
The bound is the memory's: as many 16-bit samples copied from one array to another. Crops are compared before anything
is timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from report import Report, check_same, parser_of, run_benchmark
from timing import QUICK, Effort, rates

from musicstar_ext.data.crops import SILENCE, Crops, mu_law_table
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.errors import UserError
from musicstar_ext.training.resident import ResidentTracks

RATE = 16_000
EFFORT = Effort(seconds=0.3, rounds=7)
BASELINE, BOUND = "row by row", "copied"


def make_set(folder: Path, pieces: int, seconds: float) -> PreparedSet:
    """Pieces of noise whose level rises and falls: as large as music, and with as many different codes."""
    random = np.random.default_rng(0)
    entries = {}
    for number in range(pieces):
        samples = round(seconds * RATE * random.uniform(0.5, 1.5))
        level = 3000 * (1.2 + np.sin(np.arange(samples) / RATE))
        tracks = {}
        for track in ("stem", "mixture"):
            tracks[track] = (level * random.standard_normal(samples)).clip(-32768, 32767).astype(np.int16)
        entries[f"{number:04d}"] = write_piece(folder, f"{number:04d}", tracks, RATE, {"split": "train"})
    write_description(folder, RATE, {"mixture": ["stem"]}, entries, {"command": "benchmarks/crops.py"})
    return PreparedSet.open(folder)


def row_by_row(crops: Crops) -> Callable[[int], dict[str, np.ndarray]]:
    """The baseline: [B, T] codes by indexing, np.pad and np.stack."""

    def batch(step: int) -> dict[str, np.ndarray]:
        spans = crops.spans(step)
        found: dict[str, np.ndarray] = {}
        for track, pieces in crops.audio.items():
            rows = []
            for piece, start in zip(spans.pieces, spans.starts, strict=True):
                codes = mu_law_table()[pieces[piece][start : start + crops.samples].view(np.uint16)]
                rows.append(np.pad(codes, (0, crops.samples - codes.size), constant_values=SILENCE))
            found[track] = np.stack(rows)
        return found

    return batch


class Steps:
    """The next n steps of something, at each call; steps do not come again, so no crop is in the caches."""

    def __init__(self, batch: Callable[[int], object], finish: Callable[[], object] = lambda: None) -> None:
        self._batch, self._finish, self._step = batch, finish, 0

    def __call__(self, steps: int) -> None:
        for _ in range(steps):
            self._batch(self._step)
            self._step += 1
        self._finish()


def measure(report: Report, prepared: PreparedSet, options: argparse.Namespace) -> None:
    """Compare, time and report every way."""
    tracks = tuple(prepared.tracks[-2:])
    samples, batch = round(options.seconds * prepared.sample_rate), options.batch

    def crops_of(**more: object) -> Crops:
        return Crops(prepared, "train", tracks, samples, batch, 0, **more)  # type: ignore[arg-type]

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    codes, resident = crops_of(), ResidentTracks(crops_of(), device)
    simple = row_by_row(codes)
    for step in range(3):
        expected = simple(step)
        gathered = resident.crop(codes.spans(step), tracks, slice(None))
        for track, crop in codes.batch(step).items():
            check_same("a crop", float(np.abs(crop.astype(int) - expected[track]).max()), 0)
            check_same("a resident crop", float(np.abs(gathered[track].cpu().numpy().astype(int) - crop).max()), 0)

    source = np.zeros((batch, samples), np.int16)
    target = np.empty_like(source)
    cases = {
        BOUND: Steps(lambda step: [np.copyto(target, source) for _ in tracks]),
        BASELINE: Steps(simple),
        "codes": Steps(codes.batch),
        "audio": Steps(crops_of(kind="audio").batch),
        "codes, one augmented": Steps(crops_of(augmented=tracks[:1]).batch),
        f"codes resident on {device.type}": Steps(
            lambda step: resident.crop(codes.spans(step), tracks, slice(None)),
            torch.cuda.synchronize if device.type == "cuda" else lambda: None,
        ),
    }
    found = rates(cases, QUICK if options.quick else EFFORT)
    a_step = batch * samples * len(tracks)
    for case, rate in found.items():
        if case != BOUND:
            report.add(
                case,
                rate.times(a_step),
                isa="numpy" if "resident" not in case else "torch",
                precision="fp32" if case == "audio" else "codes",
                lanes=batch,
                threads=1,
                baseline=found[BASELINE].median * a_step,
                bound=found[BOUND].median * a_step,
                aligned_crops_per_second=round(rate.median * batch, 1),
                crop_seconds=options.seconds,
            )
            report.say(f"{'':30s} {rate.median * batch:,.0f} aligned crops of {options.seconds:g} s a second")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="a prepared set; its last two tracks are cropped")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="crops in a batch (16)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="length of a crop (1)")
    options = parser.parse_args()
    if not (1 <= options.batch <= 4096 and 0.01 <= options.seconds <= 60):
        raise UserError("--batch must be from 1 to 4096, --seconds from 0.01 to 60")
    torch.set_num_threads(1)
    report = Report("crops", options, torch=torch.__version__)
    if options.data is not None:
        measure(report, PreparedSet.open(options.data), options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            pieces, seconds = (3, 2.0) if options.quick else (60, 60.0)
            measure(report, make_set(Path(folder), pieces, seconds), options)
    report.save()


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
