"""Decoding in lanes against the same segments decoded one by one."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.decoding import Decoder, cross_fade
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.lanes import LaneRules, Segment, plan_group
from musicstar_ext.runtime.networks import DecoderNetwork, networks_of

POOL = 160
RULES = LaneRules(lanes=3, longest=4, shortest=2, warm_up=1, fade=200, pool=POOL)


@pytest.fixture(scope="module")
def network(tiny_checkpoint: Checkpoint) -> DecoderNetwork:
    return networks_of(tiny_checkpoint, choose_engine("cpu", threads=1)).decoders["decoder"]


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def decoder_of(network: DecoderNetwork) -> Decoder:
    return Decoder(network, seed=5, temperature=1.0, progress=lambda samples: None)


def decoded_alone(network: DecoderNetwork, frames: np.ndarray, segment: Segment) -> np.ndarray:
    """The plain definition: one sampler, one call."""
    steps = segment.steps(POOL)
    condition = frames[segment.first : segment.first + -(-steps // POOL)]
    uniforms = core.philox_uniforms(5, segment.number, 0, steps)
    codes = network.sampler(1).sample(condition[None], uniforms[None], 1.0)[0]
    return core.mu_law_decode(np.ascontiguousarray(codes[segment.warm_up * POOL :]))


def plan_of(frames: int) -> list[Segment]:
    """All groups of a recording, by the rule that a full group closes once look_ahead frames follow it."""
    segments: list[Segment] = []
    start = 0
    while frames - start >= RULES.group + RULES.look_ahead:
        segments += plan_group(RULES, len(segments), start, RULES.group, True)
        start += RULES.group
    return segments + plan_group(RULES, len(segments), start, frames - start, False)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12, 13, 14, 15, 26, 27, 40])
def test_lanes_equal_their_segments_decoded_alone_and_cross_faded(network: DecoderNetwork, count: int) -> None:
    frames = frames_of(count)
    expected = np.zeros(count * POOL, np.float32)
    fade = np.zeros(0, np.float32)
    for segment in plan_of(count):
        audio = decoded_alone(network, frames, segment)
        audio[: len(fade)] = cross_fade(fade, audio[: len(fade)])
        length = (segment.stop - segment.start) * POOL
        expected[segment.start * POOL : segment.stop * POOL] = audio[:length]
        fade = audio[length:]
    assert len(fade) == 0
    assert np.array_equal(np.concatenate(list(decoder_of(network).in_lanes([frames], RULES))), expected)


@pytest.mark.parametrize("size", [1, 5, 17])
def test_lanes_do_not_depend_on_how_frames_arrive(network: DecoderNetwork, size: int) -> None:
    frames = frames_of(40)
    whole = np.concatenate(list(decoder_of(network).in_lanes([frames], RULES)))
    pieces = [frames[start : start + size] for start in range(0, 40, size)]
    assert np.array_equal(np.concatenate(list(decoder_of(network).in_lanes(pieces, RULES))), whole)


def test_the_first_segment_starts_as_sequential_decoding_does(network: DecoderNetwork) -> None:
    frames = frames_of(24)
    sequential = np.concatenate(list(decoder_of(network).sequential([frames])))
    lanes = np.concatenate(list(decoder_of(network).in_lanes([frames], RULES)))
    assert np.array_equal(sequential[: 4 * POOL], lanes[: 4 * POOL])
    assert not np.array_equal(sequential, lanes)


def test_no_frames_no_audio(network: DecoderNetwork) -> None:
    assert list(decoder_of(network).in_lanes([], RULES)) == []
    assert list(decoder_of(network).sequential([])) == []


def test_cross_fade_keeps_the_energy_of_different_waveforms() -> None:
    ending, beginning = 0.1 * np.random.default_rng(0).standard_normal((2, 6000)).astype(np.float32)
    blended = cross_fade(ending, beginning)
    for third in np.split(blended, 3):
        assert np.square(third).mean() == pytest.approx(0.01, rel=0.08)
    loud = np.ones(320, np.float32)
    loud[::2] = -1
    assert np.abs(cross_fade(loud, np.ones(320, np.float32))).max() <= 1


def test_cross_fade() -> None:
    ones = np.ones(320, np.float32)
    assert np.array_equal(cross_fade(ones, ones), ones)
    blended = cross_fade(ones, -ones)
    assert blended[0] == pytest.approx(1, abs=0.01)
    assert blended[-1] == pytest.approx(-1, abs=0.01)
    assert np.all(np.diff(blended) < 0)
    zeros = np.zeros(320, np.float32)
    assert not cross_fade(zeros, zeros).any()
    assert len(cross_fade(ones[:0], ones[:0])) == 0
