from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from musicstar_ext.data.corpus import WrittenNote, WrittenScore
from musicstar_ext.data.plan import PiecePlan, SetOptions, first_visits, plan_pieces
from musicstar_ext.errors import UserError

SHELVES = [[f"short/{i}.mxl" for i in range(30)], [f"long/{i}.mxl" for i in range(7)]]
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def read(name: str) -> WrittenScore:
    choose = random.Random(name)
    quarters = 300 if name.startswith("long") else 60
    parts = [[WrittenNote(float(i), 1.0, choose.randint(55, 80)) for i in range(quarters)] for _ in range(3)]
    return WrittenScore(name, name, "Nobody", 80.0, 4.0, parts)


@pytest.fixture
def options(tmp_path: Path) -> SetOptions:
    fonts = [tmp_path / name for name in ("a.sf2", "b.sf2", "held-out.sf2")]
    for font in fonts:
        font.touch()
    return SetOptions(1, SHARES, {"train": fonts[:2], "validation": fonts[:2], "test": fonts[2:]})


def plan(count: int, options: SetOptions) -> list[PiecePlan]:
    return list(itertools.islice(plan_pieces(SHELVES, read, options), count))


def test_plans_are_deterministic_and_only_grow(options: SetOptions):
    assert plan(60, options)[:25] == plan(25, options)
    other = SetOptions(2, options.shares, options.sound_fonts)
    assert plan(25, other) != plan(25, options)


def test_no_score_is_in_two_splits_and_held_out_fonts_play_the_test_only(options: SetOptions):
    plans = plan(100, options)
    scores = {split: {p.source for p in plans if p.split == split} for split in SHARES}
    for one, other in itertools.combinations(SHARES, 2):
        assert scores[one]
        assert not scores[one] & scores[other]
    assert all((p.sound_font.name == "held-out.sf2") == (p.split == "test") for p in plans)
    assert {p.sound_font.name for p in plans} == {"a.sf2", "b.sf2", "held-out.sf2"}


def test_shelves_take_turns_and_a_score_comes_again_as_another_variant(options: SetOptions):
    plans = plan(40, options)
    assert [p.source.split("/")[0] for p in plans[:4]] == ["short", "long", "short", "long"]
    again = [p for p in plans if p.source == plans[1].source]
    assert [p.variant for p in again] == list(range(len(again)))
    assert len(again) > 1
    assert len({p.fingerprint() for p in plans}) == len({p.name for p in plans}) == len(plans)


def test_scores_are_first_visited_in_the_foretold_order(options: SetOptions):
    visited: dict[str, None] = {}

    def note(name: str) -> WrittenScore:
        visited.setdefault(name)
        return read(name)

    list(itertools.islice(plan_pieces(SHELVES, note, options), 100))
    order = first_visits(SHELVES, options.seed)
    assert sorted(order) == sorted(name for shelf in SHELVES for name in shelf)
    assert list(visited) == order[: len(visited)]


def test_a_corpus_without_usable_scores_ends(options: SetOptions):
    def silence(name: str) -> WrittenScore:
        return WrittenScore(name, name, "Nobody", 80.0, 4.0, [])

    with pytest.raises(UserError, match="no score that can be used"):
        next(plan_pieces(SHELVES, silence, options))
