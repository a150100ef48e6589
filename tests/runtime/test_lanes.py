"""The lane plan: every frame once, warm-ups and fades within what is there, segments neither too short nor too long."""

from __future__ import annotations

import itertools

import pytest

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.lanes import LaneRules, choose_lanes, lane_rules, plan_group


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("shortest", [1, 3, 10])
@pytest.mark.parametrize("followed", [False, True])
def test_a_group_is_cut_into_even_segments_that_cover_every_frame_once(
    lanes: int, shortest: int, followed: bool
) -> None:
    rules = LaneRules(lanes=lanes, longest=20, shortest=shortest, warm_up=6, fade=320, pool=800)
    for start, frames in itertools.product((0, 2, 6, 1000), (1, 2, 9, 10, 11, 29, 97, rules.group)):
        if frames > rules.group + rules.look_ahead:
            continue
        segments = plan_group(rules, 5, start, frames, followed)
        covered = [frame for segment in segments for frame in range(segment.start, segment.stop)]
        assert covered == list(range(start, start + frames))
        assert [segment.number for segment in segments] == list(range(5, 5 + len(segments)))
        lengths = [segment.stop - segment.start for segment in segments]
        assert max(lengths) - min(lengths) <= 1
        assert len(segments) <= lanes
        assert min(lengths) >= min(shortest, frames)
        assert all(segment.first >= 0 for segment in segments)
        assert all(segment.warm_up == min(6, segment.start) for segment in segments)
        assert [segment.fade for segment in segments] == [320] * (len(segments) - 1) + [320 if followed else 0]


def test_lanes_are_as_many_as_told_when_there_is_enough_to_do() -> None:
    rules = LaneRules(lanes=4, longest=20, shortest=5, warm_up=1, fade=0, pool=800)
    counts = [len(plan_group(rules, 0, 0, frames, False)) for frames in (4, 9, 10, 19, 20, 80)]
    assert counts == [1, 1, 2, 3, 4, 4]


def test_rules_of_the_papers_decoder() -> None:
    rules = lane_rules(8, DecoderConfig(), 16_000)
    assert rules == LaneRules(lanes=8, longest=200, shortest=10, warm_up=6, fade=800, pool=800)
    assert rules.group == 1600
    assert rules.look_ahead == 10


@pytest.mark.parametrize("pool", [1, 7, 160, 800, 16_000, 200_000])
def test_rules_hold_for_any_frame_length(pool: int) -> None:
    rules = lane_rules(2, DecoderConfig(pool=pool), 16_000)
    assert rules.warm_up * pool >= DecoderConfig().receptive_field
    assert 1 <= rules.shortest <= rules.longest
    assert rules.fade <= rules.shortest * pool
    assert rules.look_ahead * pool >= rules.fade


def test_auto_lanes() -> None:
    assert choose_lanes("auto", None, threads=8) == 1
    assert choose_lanes("auto", 0.3, threads=8) == 1
    assert choose_lanes("auto", 5.9, threads=8) == 5
    assert choose_lanes("auto", 3600.0, threads=2) == 16
    assert choose_lanes(3, 0.3, threads=1) == 3


@pytest.mark.parametrize("lanes", [0, -1, 4097, True, 2.0, "many"])
def test_bad_lanes(lanes: object) -> None:
    with pytest.raises(UserError, match="lanes must be auto or a whole number"):
        choose_lanes(lanes, 1.0, threads=1)  # type: ignore[arg-type]
