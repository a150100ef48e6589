from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import pytest

from musicstar_ext.data import scores
from musicstar_ext.data.corpus import WrittenNote, WrittenScore
from musicstar_ext.data.scores import FASTER, LONGEST, LOUDEST, SHORTEST, SLOWER, SOFTEST, Score

RANGES = ((50, 94), (53, 89))


def arrange(written: WrittenScore, variant: int, seed: int, ranges: Sequence[tuple[int, int]] = RANGES) -> Score | None:
    return scores.arrange(written, variant, seed, ranges)


def written(parts: int = 4, bars: int = 16, name: str = "a") -> WrittenScore:
    """Parts a fifth apart, in quarters; the highest comes first."""
    voices = [
        [WrittenNote(float(i), 1.0, 79 - 7 * part + (i * 5 + part) % 8) for i in range(4 * bars)]
        for part in range(parts)
    ]
    return WrittenScore(name, "A", "Nobody", 80.0, 4.0, voices)


def test_an_arrangement_is_a_function_of_score_variant_and_seed():
    assert arrange(written(), 0, 1) == arrange(written(), 0, 1)
    others = [arrange(written(), 1, 1), arrange(written(), 0, 2), arrange(written(name="b"), 0, 1)]
    assert all(other != arrange(written(), 0, 1) for other in others)


@pytest.mark.parametrize("variant", range(12))
def test_notes_stay_within_what_the_instruments_play(variant: int):
    score = arrange(written(parts=5), variant, 0)
    assert score is not None
    assert SLOWER * 80 <= score.tempo <= FASTER * 80
    assert abs(score.semitones) <= 5
    assert sum(len(voices) for voices in score.stems) == 5
    for (low, high), voices in zip(RANGES, score.stems, strict=True):
        for note in (note for voice in voices for note in voice):
            assert low <= note.pitch <= high
            assert SOFTEST <= note.velocity <= LOUDEST
            assert note.start >= 0
            assert note.duration > 0
    assert len({note.velocity for voices in score.stems for voice in voices for note in voice}) > 10


def test_repeated_notes_of_a_voice_never_overlap():
    line = [WrittenNote(i / 2, 3.0, 60 + 12 * (i % 3)) for i in range(128)]  # octaves that fold onto each other
    score = arrange(dataclasses.replace(written(), parts=[line, line]), 0, 0)
    assert score is not None
    for voice in (voice for voices in score.stems for voice in voices):
        for pitch in {note.pitch for note in voice}:
            same = [note for note in voice if note.pitch == pitch]
            assert all(a.start + a.duration < b.start for a, b in pairwise(same))


def test_a_long_score_gives_one_excerpt_after_the_other():
    firsts = []
    for score in [arrange(written(bars=300), variant, 0) for variant in range(4)]:
        assert score is not None
        assert SHORTEST <= score.seconds <= LONGEST
        assert min(note.start for voices in score.stems for voice in voices for note in voice) == 0
        firsts.append(score.first_bar)
    assert firsts[0] == 0
    assert len(set(firsts)) == 4


def test_either_instrument_gets_the_tune_sometimes():
    tops = set()
    for variant in range(12):
        score = arrange(written(), variant, 0)
        assert score is not None
        means = [max(sum(n.pitch for n in voice) / len(voice) for voice in voices) for voices in score.stems]
        tops.add(means[0] > means[1])
    assert tops == {True, False}


@pytest.mark.parametrize("instruments", [1, 3, 4, 5])
def test_any_number_of_instruments_share_the_parts(instruments: int):
    ranges = [(40 + 6 * i, 60 + 6 * i) for i in range(instruments)]
    tops = set()
    for variant in range(10):
        score = arrange(written(parts=5), variant, 0, ranges)
        assert score is not None
        assert len(score.stems) == instruments
        assert sum(len(voices) for voices in score.stems) == 5
        for (low, high), voices in zip(ranges, score.stems, strict=True):
            assert voices
            assert all(low <= note.pitch <= high for voice in voices for note in voice)
        tops.add(len(score.stems[0]))
    assert tops == {1: {5}, 3: {1, 2}, 4: {1, 2}, 5: {1}}[instruments]
    assert arrange(written(parts=instruments - 1), 0, 0, ranges) is None


def test_scores_that_cannot_be_shared_out_are_left():
    assert arrange(written(parts=1), 0, 0) is None
    assert arrange(written(bars=4), 0, 0) is None
    silent = [WrittenNote(0.0, 1.0, 60)]
    assert arrange(dataclasses.replace(written(), parts=[written().parts[0], silent]), 0, 0) is None


def test_tempo_scales_time_only():
    score = arrange(written(), 0, 0)
    assert score is not None
    last = max(note.start for voices in score.stems for voice in voices for note in voice)
    assert math.isclose(last, 63 * 60 / score.tempo, abs_tol=1e-3)
