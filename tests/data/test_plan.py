from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from fake_sound_fonts import write_fake_font

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
    fonts = [write_fake_font(tmp_path / name) for name in ("a.sf2", "b.sf2", "held-out.sf2")]
    return SetOptions(1, SHARES, {"train": fonts[:2], "validation": fonts[:2], "test": fonts[2:]})


def plan(count: int, options: SetOptions) -> list[PiecePlan]:
    return list(itertools.islice(plan_pieces(SHELVES, read, options), count))


def fonts_of(plan: PiecePlan, domain: str) -> set[str]:
    return {performance.sound_font.name for performance in plan.performances[domain].values()}


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
    names = [{font.name for font in p.sound_fonts()} for p in plans]
    assert all((fonts == {"held-out.sf2"}) == (p.split == "test") for p, fonts in zip(plans, names, strict=True))
    assert set.union(*names) == {"a.sf2", "b.sf2", "held-out.sf2"}
    assert all(len(fonts) == 1 for fonts in names)


def test_only_a_source_varies_and_plays_the_same_music(options: SetOptions):
    varied = plan(60, replace(options, source="strings-piano"))
    for ours, usual in zip(varied, plan(60, options), strict=True):
        assert (ours.name, ours.split, ours.score, ours.balances) == (
            usual.name,
            usual.split,
            usual.score,
            usual.balances,
        )
        assert ours.fingerprint() != usual.fingerprint()
        assert fonts_of(ours, "clarinet-vibraphone") == {"a.sf2"}  # the first for training, in every split
        if ours.split == "test":
            assert fonts_of(ours, "strings-piano") == {"held-out.sf2"}
        assert ours.attenuation["clarinet-vibraphone"] == 0
        assert -12 <= ours.attenuation["strings-piano"] <= 0
    first = varied[0].performances["clarinet-vibraphone"]
    assert all(p.performances["clarinet-vibraphone"] == first for p in varied)
    assert len({p.performances["strings-piano"]["strings"].cents for p in varied}) > 30
    assert any(fonts_of(p, "strings-piano") == {"a.sf2", "b.sf2"} for p in varied)


def test_a_fingerprint_tells_whatever_is_heard(options: SetOptions):
    (one,) = plan(1, replace(options, source="strings-piano"))
    assert json.loads(json.dumps(one.described())) == one.described()
    strings = one.performances["strings-piano"]["strings"]
    others = [replace(one, balances=(0.0, 1.0)), replace(one, attenuation={**one.attenuation, "strings-piano": -12.5})]
    changes = ({"cents": 0.5}, {"room": None}, {"program": 41}, {"seed": 1}, {"touch": 1.5}, {"noise": -60.5})
    for change in changes:
        stems = {**one.performances["strings-piano"], "strings": replace(strings, **change)}
        others.append(replace(one, performances={**one.performances, "strings-piano": stems}))
    fingerprints = {other.fingerprint() for other in others}
    assert len(fingerprints) == len(others)
    assert one.fingerprint() not in fingerprints


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

    with pytest.raises(UserError, match="no score that can be used for 2 instruments"):
        next(plan_pieces(SHELVES, silence, options))
