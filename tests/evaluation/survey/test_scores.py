from __future__ import annotations

import csv
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from survey_raters import paper_key, result_of

from musicstar_ext.errors import UserError
from musicstar_ext.evaluation.survey.protocol import QUESTIONS
from musicstar_ext.evaluation.survey.report import markdown, write_report
from musicstar_ext.evaluation.survey.results import Key, Result, read_result
from musicstar_ext.evaluation.survey.scores import Scores, friedman, kendall_w, score

pytest.importorskip("scipy")

TABLE_1 = {  # Music-STAR (ISMIR 2022), Table 1, subjective: content, style, quality
    "single-instrument": (166, 150, 153),
    "separation-based": (165, 147, 159),
    "embedding-supervised": (161, 157, 149),
    "stem-supervised": (154, 190, 183),
    "mixture-supervised": (254, 256, 256),
}
METHODS = tuple(TABLE_1)


def rankings_with_totals(totals: list[int], votes: int, seed: int) -> list[list[int]]:
    """Votes (methods by number, best first) whose points sum to `totals`: random ones, then swaps inside a vote.

    Swapping two methods that are k places apart moves k points from one to the other.
    """
    methods = len(totals)
    assert sum(totals) == votes * methods * (methods + 1) // 2
    rng = random.Random(seed)
    rankings = [rng.sample(range(methods), methods) for _ in range(votes)]
    while True:
        sums = [sum(methods - ranking.index(m) for ranking in rankings) for m in range(methods)]
        excess = [have - want for have, want in zip(sums, totals, strict=True)]
        if not any(excess):
            return rankings
        most, least = int(np.argmax(excess)), int(np.argmin(excess))
        step = min(excess[most], -excess[least])
        fitting = [r for r in rankings if 0 < r.index(least) - r.index(most) <= step]
        ranking = rng.choice(fitting)
        a, b = ranking.index(most), ranking.index(least)
        ranking[a], ranking[b] = ranking[b], ranking[a]


def read_back(key: Key, contents: list[dict], folder: Path) -> list[Result]:
    results = []
    for content in contents:
        path = folder / f"{content['rater']}.json"
        path.write_text(json.dumps(content))
        results.append(read_result(path, key))
    return results


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, list[Result]]:
    """30 raters and 2 pieces (Table 1's columns sum to 900 = 60 votes of 15 points), with the table's totals."""
    key = paper_key(2, METHODS)
    votes = {
        question.id: iter(rankings_with_totals([row[q] for row in TABLE_1.values()], 60, seed=q))
        for q, question in enumerate(QUESTIONS)
    }
    contents = [
        result_of(key, f"rater-{n}", lambda piece, question: [METHODS[m] for m in next(votes[question])])
        for n in range(30)
    ]
    return key, read_back(key, contents, tmp_path_factory.mktemp("raters"))


def test_table_1_comes_out(paper: tuple[Key, list[Result]]):
    scores = score(*paper)
    assert (scores.raters, scores.pieces, scores.votes) == (30, 2, 60)
    for q, question in enumerate(QUESTIONS):
        found = scores.questions[question.id].methods
        assert {method: one.total for method, one in found.items()} == {m: row[q] for m, row in TABLE_1.items()}
        for one in found.values():
            assert one.mean == pytest.approx(one.total / 60)
            assert sum(one.places) == 60
            assert sum(votes * (5 - place) for place, votes in enumerate(one.places)) == one.total
            low, high = one.interval
            assert low < one.mean < high
            assert high - low < 1.2
        assert scores.questions[question.id].friedman[1] < 1e-3  # the best is 1.5 points a vote above the rest


def agreeing(raters: int, pieces: int, methods: tuple[str, ...], folder: Path) -> tuple[Key, Scores, list[Result]]:
    key = paper_key(pieces, methods)
    contents = [result_of(key, f"r{n}", lambda piece, question: list(methods)) for n in range(raters)]
    results = read_back(key, contents, folder)
    return key, score(key, results), results


def test_full_agreement(tmp_path: Path):
    _, scores, _ = agreeing(4, 3, ("a", "b", "c"), tmp_path)
    for found in scores.questions.values():
        assert found.kendall_w == pytest.approx(1)
        assert found.friedman[0] == pytest.approx(4 * 2)  # m (n - 1) W
        assert [one.total for one in found.methods.values()] == [36, 24, 12]
        assert found.methods["a"].interval == (3.0, 3.0)
        assert found.methods["a"].places == (12, 0, 0)


def test_one_rater_has_neither_interval_nor_agreement(tmp_path: Path):
    key, scores, results = agreeing(1, 2, ("a", "b", "c"), tmp_path)
    found = scores.questions["style"]
    assert found.methods["a"].interval is None
    assert found.kendall_w is None
    assert found.friedman is None
    assert "1 rater, 2 pieces" in markdown(key, results, scores)


def test_two_methods_have_no_friedman_test(tmp_path: Path):
    _, scores, _ = agreeing(3, 1, ("a", "b"), tmp_path)
    assert scores.questions["content"].friedman is None
    assert scores.questions["content"].kendall_w == pytest.approx(1)


def test_nothing_to_count():
    with pytest.raises(UserError, match="no valid results"):
        score(paper_key(1, ("a", "b")), [])


def test_kendall_w_by_hand():
    """Three raters, ranks 1 2 3 / 1 3 2 / 2 1 3: sums 4, 6, 8, S = 8, W = 12 * 8 / (9 * 24)."""
    ranks = np.array([[1, 2, 3], [1, 3, 2], [2, 1, 3]])
    assert kendall_w(ranks) == pytest.approx(96 / 216)
    assert kendall_w(4 - ranks) == pytest.approx(96 / 216)  # points instead of ranks
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == 0
    all_orders = np.array(list(itertools.permutations(range(1, 5))))
    assert kendall_w(all_orders) == pytest.approx(0)


@pytest.mark.parametrize("seed", range(3))
def test_friedman_of_one_piece_is_kendall_s_w(seed: int):
    """Chi squared = m (n - 1) W."""
    rng = np.random.default_rng(seed)
    ranks = np.array([rng.permutation(5) + 1 for _ in range(12)])
    statistic, p = friedman(ranks)
    assert statistic == pytest.approx(12 * 4 * kendall_w(ranks))
    assert 0 < p < 1


def test_friedman_of_raters_who_tie_everything_is_none():
    assert friedman(np.full((5, 4), 2.5)) is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says(tmp_path: Path):
    """Of raters who rank at random, the mean is (n + 1) / 2."""
    key = paper_key(1, ("a", "b", "c", "d"))
    covered = []
    for trial in range(25):
        results = read_back(key, [result_of(key, f"r{trial}-{n}") for n in range(25)], tmp_path)
        for found in score(key, results, resamples=400).questions.values():
            covered += [one.interval[0] <= 2.5 <= one.interval[1] for one in found.methods.values()]
    assert 0.87 < np.mean(covered) < 0.99


def test_the_report_is_whole(paper: tuple[Key, list[Result]], tmp_path: Path):
    pytest.importorskip("matplotlib")
    key, results = paper
    scores = score(key, results)
    written = write_report(tmp_path / "out", key, results, scores)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    text = (tmp_path / "out" / "scores.md").read_text()
    assert "# Table \\| one" in text
    assert "| mixture-supervised | 254 | 256 | 256 |" in text
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert len(rows) == 15
    assert rows[4]["method"] == "mixture-supervised"
    assert rows[4]["points"] == "254"
    votes = list(csv.DictReader((tmp_path / "out" / "votes.csv").read_text().splitlines()))
    assert len(votes) == 30 * 2 * 3 * 5
    assert sum(int(v["points"]) for v in votes if v["question"] == "style" and v["method"] == METHODS[3]) == 190
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["questions"]["quality"]["kendall_w"] > 0
    for question in QUESTIONS:
        assert (tmp_path / "out" / f"{question.id}.png").read_bytes().startswith(b"\x89PNG")
