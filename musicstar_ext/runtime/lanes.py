"""The plan by which one recording is decoded as several lanes at once.

Decoding sample by sample is a chain of matrix-vector products; lanes side by side turn them into matrix-matrix
products. The code frames are gathered in groups; a group is cut at frame borders into one segment a lane:

    frames     |<------- group ------->|<------- next group ...
    segments   |   0   |   1   |   2   |   3   |
    lane 0     =========~                              = kept
    lane 1          ....=========~                     . warm-up: decoded from zero state, discarded
    lane 2                  ....=========~             ~ fade: past the end, blended with the next segment's start

The warm-up is the decoder's receptive field, after which the zero state no longer matters: only the draws differ from
those of one sequential lane. Warm-up and fade were chosen by measuring seams (docs/lanes.md). A group holds at most
lanes x `longest` frames, so memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.errors import UserError

LONGEST = 10.0  # seconds of one segment in a full group
SHORTEST = 0.5  # seconds: of less, a lane would mostly warm up
FADE = 0.050  # seconds
AUTO_SECONDS = 1.0  # `auto` gives every lane at least this much audio ...
AUTO_LANES_PER_THREAD = 8  # ... and every thread at most this many lanes (half of it where each is decoded twice),
AUTO_LANES_OF_GPU = 1024  # or a GPU as many as keep all of its multiprocessors at work
MOST_LANES = 4096

Lanes = int | Literal["auto"]


@dataclass(frozen=True)
class LaneRules:
    """How segments are cut; lengths in frames of `pool` samples, except `fade` in samples."""

    lanes: int
    longest: int
    shortest: int
    warm_up: int
    fade: int
    pool: int

    @property
    def group(self) -> int:
        """Frames of a full group."""
        return self.lanes * self.longest

    @property
    def look_ahead(self) -> int:
        """Frames that must follow a full group: enough for the fade, and so that the next segment is not too short."""
        return max(self.shortest, -(-self.fade // self.pool))


@dataclass(frozen=True)
class Segment:
    """Frames `start` to `stop` of the recording, decoded by one lane; `number` counts the recording's segments."""

    number: int
    start: int
    stop: int
    warm_up: int
    fade: int

    @property
    def first(self) -> int:
        """The frame at which the lane starts."""
        return self.start - self.warm_up

    def steps(self, pool: int) -> int:
        """Samples that the lane decodes: warm-up, segment and fade."""
        return (self.stop - self.first) * pool + self.fade


def lane_rules(lanes: int, decoder: DecoderConfig, sample_rate: int) -> LaneRules:
    """The rules for a decoder: the times above in frames, and a warm-up of its receptive field, rounded up."""
    frames_a_second = sample_rate / decoder.pool
    shortest = max(1, round(SHORTEST * frames_a_second))
    return LaneRules(
        lanes=lanes,
        longest=max(shortest, round(LONGEST * frames_a_second)),
        shortest=shortest,
        warm_up=-(-decoder.receptive_field // decoder.pool),
        fade=min(round(FADE * sample_rate), shortest * decoder.pool),
        pool=decoder.pool,
    )


def plan_group(rules: LaneRules, number: int, start: int, frames: int, followed: bool) -> list[Segment]:
    """Cut frames start..start+frames-1 into up to `rules.lanes` segments of equal length, give or take a frame.

    Args:
        number: the first segment's number.
        frames: at least 1; at most `rules.group`, plus a rest of fewer than `rules.look_ahead` at the recording's end.
        followed: more frames come after this group, so its last segment fades too.
    """
    count = max(1, min(rules.lanes, frames // rules.shortest))
    borders = [start + frames * i // count for i in range(count + 1)]
    return [
        Segment(
            number=number + i,
            start=borders[i],
            stop=borders[i + 1],
            warm_up=min(rules.warm_up, borders[i]),
            fade=rules.fade if followed or i + 1 < count else 0,
        )
        for i in range(count)
    ]


def choose_lanes(lanes: Lanes, seconds: float | None, threads: int, gpu: bool = False, guided: bool = False) -> int:
    """The number of lanes: as told, or for "auto" by the recording's length and what shares the work.

    Args:
        seconds: None for a stream of unknown length, which "auto" decodes sequentially: exactly, and without delay.
        threads: of the CPU.
        gpu: decoded by a GPU, whatever the threads.
        guided: every lane is decoded with and without its code, so half of them fill a thread or a GPU.

    Raises:
        UserError: neither "auto" nor a whole number from 1 to 4096.
    """
    if lanes == "auto":
        most = AUTO_LANES_OF_GPU if gpu else min(AUTO_LANES_PER_THREAD * threads, MOST_LANES)
        if guided:
            most = max(1, most // 2)
        return 1 if seconds is None else max(1, min(most, int(seconds / AUTO_SECONDS)))
    if isinstance(lanes, bool) or not isinstance(lanes, int) or not 1 <= lanes <= MOST_LANES:
        raise UserError(f"lanes must be auto or a whole number from 1 to {MOST_LANES}, not {lanes!r}")
    return lanes
