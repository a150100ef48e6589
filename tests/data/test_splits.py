from __future__ import annotations

import random

from musicstar_ext.data.corpus import WrittenNote, WrittenScore
from musicstar_ext.data.splits import Splits

SHARES = {"train": 0.8, "validation": 0.15, "test": 0.05}


def score(name: str, pitches: list[int]) -> WrittenScore:
    return WrittenScore(name, name, "Nobody", 80.0, 4.0, [[WrittenNote(i, 1.0, p) for i, p in enumerate(pitches)]])


def tune(seed: int, length: int = 40) -> list[int]:
    return random.Random(seed).choices(range(60, 80), k=length)


def deal(splits: Splits, name: str, pitches: list[int]) -> str | None:
    split = splits.split_of(score(name, pitches))
    if split:
        splits.count(split)
    return split


def test_splits_get_their_shares_and_each_has_a_piece_early():
    splits = Splits(SHARES)
    dealt = [deal(splits, f"score {i}", tune(i)) for i in range(200)]
    assert set(dealt[:3]) == set(SHARES)
    for split, share in SHARES.items():
        assert abs(dealt.count(split) - 200 * share) <= 1


def test_a_split_without_a_share_gets_nothing():
    splits = Splits({"train": 1.0, "validation": 0.0, "test": 0.0})
    assert {deal(splits, f"score {i}", tune(i)) for i in range(20)} == {"train"}


def test_a_score_stays_in_its_split():
    splits = Splits(SHARES)
    first = deal(splits, "a", tune(0))
    assert all(deal(splits, "a", tune(0)) == first for _ in range(20))


def test_a_tune_in_another_key_or_with_another_beginning_goes_where_it_already_is():
    splits = Splits(SHARES)
    dealt = {i: deal(splits, f"score {i}", tune(i)) for i in range(20)}
    for i, split in dealt.items():
        assert deal(splits, f"again {i}", [60, 61, *(pitch + 3 for pitch in tune(i))]) == split


def test_a_medley_of_two_splits_fits_none():
    splits = Splits(SHARES)
    assert deal(splits, "a", tune(0)) != deal(splits, "b", tune(1))
    assert deal(splits, "medley", tune(0) + tune(1)) is None


def test_scales_are_everybodys():
    splits = Splits(SHARES)
    scale = [60 + 2 * i - i // 3 for i in range(20)]
    assert len({deal(splits, f"score {i}", scale) for i in range(3)}) == 3
