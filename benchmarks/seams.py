"""Can a lane's seam be heard?  `python benchmarks/seams.py --clips DIR [--model NAME|PATH] [--lanes N] [--seeds N]`

Clips are decoded in lanes and, with the same model, sequentially. Two measures tell a seam from another place:

  energy   the largest step in short-time energy, dB between neighbouring stretches of 10 ms
  flux     the largest change of the magnitude spectrum, |S2 - S1| / (|S1| + |S2|) of neighbouring Hann windows of 32 ms

both taken over the stretch from 5 ms before a seam to 5 ms after its fade. A seam's percentile is its rank among the
stretches of the same length that begin at the borders of code frames away from seams: seams lie at such borders, and
there the condition steps, seam or no seam. If seams cannot be told from other borders, percentiles are spread evenly:
median 50, one in twenty above 95. `control` is the percentile of the same borders in the sequential output;
`anywhere` ranks seams among all places of the sequential output, borders or not.

Warm-up (in receptive fields) and cross-fade (length and shape) are varied. `dip` is the energy in the middle third of
the fades, in dB of the two signals' mean energy there; `correlation` is theirs, and decides which shape keeps energy.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import _musicstar_core as core
import numpy as np
import timing
from clips import encode, read_clips
from report import run_benchmark

from musicstar_ext import checkpoints, models
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import CommandParser
from musicstar_ext.runtime.decoding import cross_fade
from musicstar_ext.runtime.lanes import Segment, lane_rules, plan_group
from musicstar_ext.runtime.networks import SAMPLE_RATE

MILLISECOND = SAMPLE_RATE // 1000
HOP = 2 * MILLISECOND  # between the places where a step is measured
MARGIN = 5 * MILLISECOND
LONGEST_FADE = 50  # ms
WARM_UPS = (0.0, 0.5, 1.0, 2.0)  # receptive fields
SHAPES = ("linear", "equal-power", "translation's")
FADES = ((0, "none"), *((length, shape) for length in (5, 20, 50) for shape in SHAPES))


@dataclass(frozen=True)
class Lane:
    """What a lane drew: its segment, and past it what the fade may use."""

    start: int  # samples
    audio: np.ndarray
    tail: np.ndarray


def decode_lanes(checkpoint: Checkpoint, frames: np.ndarray, segments: list[Segment], seeds: int) -> list[list[Lane]]:
    """The segments of all clips [clips, F, C] with seeds 0, 1 ...: the lanes of each, unblended.

    All are decoded side by side, which changes no sample; lanes that are done first idle on with their last frame.
    """
    sizes = dataclasses.asdict(checkpoint.networks["decoder"])
    pool, codes = sizes["pool"], sizes["condition_channels"]
    steps = max(segment.steps(pool) for segment in segments)
    first = np.array([segment.first for segment in segments])
    index = np.minimum(first[:, None] + np.arange(-(-steps // pool)), frames.shape[1] - 1)
    condition = np.repeat(frames[:, index], seeds, axis=0).reshape(-1, index.shape[1], codes)
    numbers = [segment.number for segment in segments]
    uniforms = [core.philox_uniforms(seed, number, 0, steps) for seed in range(seeds) for number in numbers]
    sampler = core.Sampler(sizes, checkpoint.weights["decoder"], lanes=len(condition))
    drawn = sampler.sample(condition, np.tile(np.stack(uniforms), (len(frames), 1)))
    decoded = []
    for take in drawn.reshape(-1, len(segments), steps):
        lanes = []
        for segment, lane in zip(segments, take, strict=True):
            audio = core.mu_law_decode(np.ascontiguousarray(lane[segment.warm_up * pool : segment.steps(pool)]))
            length = (segment.stop - segment.start) * pool
            lanes.append(Lane(segment.start * pool, audio[:length], audio[length:]))
        decoded.append(lanes)
    return decoded


def blend(ending: np.ndarray, beginning: np.ndarray, shape: str) -> np.ndarray:
    """Cross-fade [n] into [n]; "translation's" is what the package does: linear, scaled to keep the energy."""
    rise = (np.arange(len(ending)) + 0.5) / max(1, len(ending))
    if shape == "translation's":
        return cross_fade(ending, beginning)
    if shape == "equal-power":
        return np.cos(rise * np.pi / 2) * ending + np.sin(rise * np.pi / 2) * beginning
    return (1 - rise) * ending + rise * beginning


def joined(lanes: list[Lane], samples: int, shape: str) -> np.ndarray:
    """The lanes in a row, each beginning blended with the tail of the lane before."""
    pieces = [lanes[0].audio]
    for before, lane in itertools.pairwise(lanes):
        pieces += [blend(before.tail[:samples], lane.audio[:samples], shape), lane.audio[samples:]]
    return np.concatenate(pieces)


def energy_steps(audio: np.ndarray) -> np.ndarray:
    """|dB| between the 10 ms before and after every HOP samples."""
    span = 10 * MILLISECOND
    sums = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    places = np.arange(0, len(audio) + 1, HOP)
    before = sums[places] - sums[np.maximum(places - span, 0)]
    after = sums[np.minimum(places + span, len(audio))] - sums[places]
    floor = span * 1e-7  # -70 dBFS: below it nothing is heard to jump
    return np.abs(10 * np.log10((after + floor) / (before + floor)))


def spectral_flux(audio: np.ndarray) -> np.ndarray:
    """|S2 - S1| / (|S1| + |S2|) of the 32 ms before and after every HOP samples."""
    span = 32 * MILLISECOND
    padded = np.pad(audio.astype(np.float64), (span, span))
    windows = np.lib.stride_tricks.sliding_window_view(padded, span)[::HOP] * np.hanning(span)
    spectra = np.abs(np.fft.rfft(windows, axis=1))
    places = np.arange(0, len(audio) + 1, HOP) // HOP  # window i ends, and window i + span starts, at place i
    before, after = spectra[places], spectra[places + span // HOP]
    total = np.linalg.norm(before, axis=1) + np.linalg.norm(after, axis=1)
    return np.linalg.norm(after - before, axis=1) / (total + 1e-3)


MEASURES = {"energy": energy_steps, "flux": spectral_flux}


def stretches(steps: np.ndarray, fade: int) -> np.ndarray:
    """The largest step from MARGIN before a place to MARGIN after a fade of `fade` samples, for every place."""
    back, width = MARGIN // HOP, (2 * MARGIN + fade) // HOP + 1
    padded = np.pad(steps, (back, width - 1 - back), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width).max(1)[: len(steps)]


def percentiles(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` below each value, in percent."""
    return 100 * np.searchsorted(np.sort(others), values) / len(others)


def borders_away_from(seams: np.ndarray, samples: int, pool: int) -> np.ndarray:
    """Borders of code frames (in samples) whose stretch and windows touch no seam, and no end of the clip."""
    reach = (32 + LONGEST_FADE) * MILLISECOND + 2 * MARGIN
    borders = np.arange(0, samples + 1, pool)
    ends = np.array([0, *seams, samples])
    return borders[np.abs(borders[:, None] - ends).min(1) > reach]


@dataclass
class Tally:
    """Percentiles of all seams of one setting, by measure; dips and correlations of its fades."""

    seams: dict[str, list[float]]
    control: dict[str, list[float]]
    anywhere: dict[str, list[float]]
    energies: list[tuple[float, float]]
    correlations: list[float]


def measure(lanes: list[Lane], sequential: np.ndarray, pool: int, fade_ms: int, shape: str, tally: Tally) -> None:
    """Add one clip's seams to the tally of a setting."""
    fade = fade_ms * MILLISECOND
    audio = joined(lanes, fade, shape)
    seams = np.array([lane.start for lane in lanes[1:]])
    others = borders_away_from(seams, len(audio), pool) // HOP
    for name, of in MEASURES.items():
        here, control = stretches(of(audio), fade), stretches(of(sequential), fade)
        tally.seams[name] += percentiles(here[seams // HOP], here[others]).tolist()
        tally.control[name] += percentiles(control[seams // HOP], control[others]).tolist()
        tally.anywhere[name] += percentiles(here[seams // HOP], control).tolist()
    middle = slice(fade // 3, fade - fade // 3)
    for before, lane in itertools.pairwise(lanes):
        if fade == 0:
            break
        ending, beginning = before.tail[:fade].astype(np.float64), lane.audio[:fade].astype(np.float64)
        blended = blend(ending, beginning, shape)
        mean = (np.square(ending[middle]).mean() + np.square(beginning[middle]).mean()) / 2
        tally.energies.append((float(np.square(blended[middle]).mean()), float(mean)))
        scale = np.sqrt(np.square(ending).sum() * np.square(beginning).sum())
        tally.correlations.append(float(ending @ beginning / scale) if scale > 0 else 0.0)


def rows(checkpoint: Checkpoint, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One row a setting of warm-up and fade."""
    config = checkpoint.networks["decoder"]
    frames = encode(checkpoint, read_clips(options.clips, checkpoint, "source", options.seconds))
    rules = dataclasses.replace(lane_rules(options.lanes, config, SAMPLE_RATE), fade=LONGEST_FADE * MILLISECOND)
    count = frames.shape[1]
    whole = [Segment(0, 0, count, 0, 0)]  # the sequential plan
    sequential = [lanes[0].audio for lanes in decode_lanes(checkpoint, frames, whole, options.seeds)]
    for fields in WARM_UPS:
        warm_up = int(np.ceil(fields * config.receptive_field / config.pool))
        plan = plan_group(dataclasses.replace(rules, warm_up=warm_up), 0, 0, count, followed=False)
        decoded = decode_lanes(checkpoint, frames, plan, options.seeds)
        for fade_ms, shape in FADES:
            tally = Tally(*({name: [] for name in MEASURES} for _ in range(3)), energies=[], correlations=[])
            for lanes, control in zip(decoded, sequential, strict=True):
                measure(lanes, control, config.pool, fade_ms, shape, tally)
            yield row(tally, fields, warm_up * config.pool, fade_ms, shape)


def row(tally: Tally, fields: float, warm_up: int, fade_ms: int, shape: str) -> dict[str, object]:
    """A setting's answer."""
    blended, mean = np.array(tally.energies).reshape(-1, 2).sum(0)
    result: dict[str, object] = {
        "question": "seams",
        "warm_up_fields": fields,
        "warm_up_samples": warm_up,
        "fade_ms": fade_ms,
        "fade": shape,
        "seams": len(tally.seams["energy"]),
        "dip_db": round(float(10 * np.log10(blended / mean)), 2) if mean else None,
        "correlation": round(float(np.mean(tally.correlations)), 3) if tally.correlations else None,
    }
    for name in MEASURES:
        ranks = np.array(tally.seams[name])
        result[f"{name}_median"] = round(float(np.median(ranks)), 1)
        result[f"{name}_above_95"] = round(float((ranks > 95).mean() * 100), 1)
        result[f"{name}_control_median"] = round(float(np.median(tally.control[name])), 1)
        result[f"{name}_anywhere_median"] = round(float(np.median(tally.anywhere[name])), 1)
    return result


def line(row: dict[str, object]) -> str:
    """A row for people."""
    text = f"warm-up {row['warm_up_fields']} fields ({row['warm_up_samples']:4d})"
    text += f"  fade {row['fade_ms']:2d} ms {row['fade']:11s}"
    for name in MEASURES:
        text += f"  {name} {row[f'{name}_median']:5.1f} ({row[f'{name}_above_95']:4.1f} % > 95, "
        text += f"control {row[f'{name}_control_median']:4.1f}, anywhere {row[f'{name}_anywhere_median']:4.1f})"
    if row["dip_db"] is not None:
        text += f"  dip {row['dip_db']:+.2f} dB  correlation {row['correlation']:+.2f}"
    return text


def main() -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clips", type=Path, required=True, metavar="DIR", help="StarNet clips, NNN.0.wav and NNN.3.wav")
    add("--model", default=models.DEFAULT, metavar="NAME|PATH", help="(%(default)s)")
    add("--seconds", type=float, default=10.0, help="of each clip (%(default)s)")
    add("--lanes", type=int, default=8, help="(%(default)s)")
    add("--seeds", type=int, default=3, help="how often each clip is decoded (%(default)s)")
    add("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    checkpoint = checkpoints.load(models.find(options.model))
    machine = timing.machine()
    if not options.json:
        print(f"{options.model}, step {checkpoint.step}, {options.lanes} lanes; median percentile of seams")
    for found in rows(checkpoint, options):
        about = {"model": options.model, "step": checkpoint.step, "lanes": options.lanes}
        print(json.dumps({**found, **about, **machine}) if options.json else line(found), flush=True)


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
