from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from survey_raters import result_of, sealed

from musicstar_ext.errors import UserError
from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.survey.results import Key, latest, read_key, read_result

pytest.importorskip("scipy")


def saved(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_good_result_is_read(key: Key, tmp_path: Path):
    wanted = {"fugue": ["zebra", "okapi", "walrus"], "waltz": ["walrus", "zebra", "okapi"]}
    content = result_of(key, "anna", lambda piece, question: wanted[piece])
    result = read_result(saved(tmp_path / "r.json", content), key)
    assert result.rater == "anna"
    assert result.unheard == 0
    for piece in key.pieces:
        for ranked in result.ranks[piece.id].values():
            assert list(ranked) == wanted[piece.name]


def first(content: dict[str, Any]) -> dict[str, Any]:
    return content["pieces"][0]


def swap(values: list[Any]) -> None:
    values[0], values[1] = values[1], values[0]


def change_ranking(change: Callable[[list[str]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda content: change(first(content)["rankings"]["style"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.update(format="x"), "not a result of a listening test"),
        (lambda c: c.update(survey="0123"), "belongs to another listening test ('0123'"),
        (lambda c: c.update(extra=1), "has the wrong entries: extra"),
        (lambda c: c.pop("device"), "has the wrong entries: device"),
        (lambda c: c.update(rater="a b"), "the rater's name"),
        (lambda c: c.update(rater=7), "the rater's name"),
        (lambda c: c.update(rater="bert"), "not in the order that this rater was shown"),
        (lambda c: c.update(finished="yesterday"), "'finished' is not a time"),
        (lambda c: c.update(comment=None), "must be texts"),
        (lambda c: c.update(pieces=7), "is incomplete: without the piece"),
        (lambda c: c["pieces"].pop(), "is incomplete: without the piece"),
        (lambda c: c["pieces"].append(first(c)), "its pieces are not in the order"),
        (lambda c: swap(c["pieces"]), "its pieces are not in the order"),
        (lambda c: swap(first(c)["order"]), "the versions are not in the order"),
        (lambda c: first(c).pop("heard"), "'heard' must hold whole milliseconds"),
        (lambda c: first(c)["heard"].update(x=True), "'heard' must hold whole milliseconds"),
        (lambda c: first(c)["rankings"].pop("style"), "must have rankings for content, style, quality"),
        (lambda c: first(c)["rankings"].update(style="abc"), "is not a list of versions"),
        (lambda c: first(c)["rankings"].update(style=[1, 2, 3]), "is not a list of versions"),
        (change_ranking(lambda r: r.pop()), "is incomplete: 2 of 3 ranked for style"),
        (change_ranking(lambda r: r.append(r[0])), "is not one of its 3 versions, each once"),
        (change_ranking(lambda r: r.__setitem__(0, r[1])), "is not one of its 3 versions, each once"),
        (change_ranking(lambda r: r.__setitem__(0, "nobody")), "is not one of its 3 versions, each once"),
    ],
)
def test_a_wrong_result_is_refused_even_with_the_right_checksum(
    change: Callable[[dict[str, Any]], object], problem: str, key: Key, tmp_path: Path
):
    content = copy.deepcopy(result_of(key, "anna"))
    change(content)
    path = saved(tmp_path / "r.json", sealed(content))
    with pytest.raises(UserError, match=r"r\.json: ") as caught:
        read_result(path, key)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        change_ranking(swap),
        lambda c: c.update(comment="better than I thought"),
        lambda c: c.update(checksum=None),
        lambda c: c.pop("checksum"),
        lambda c: c.update(comment="\ud800"),
        lambda c: c.update(comment=float("nan")),
    ],
)
def test_an_edit_is_found(change: Callable[[dict[str, Any]], object], key: Key, tmp_path: Path):
    content = copy.deepcopy(result_of(key, "anna"))
    change(content)
    with pytest.raises(UserError, match="was changed after the rater saved it"):
        read_result(saved(tmp_path / "r.json", content), key)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 50_000, b'{"a":1,"a":2}'])
def test_what_is_no_result_is_refused(data: bytes, key: Key, tmp_path: Path):
    path = tmp_path / "r.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"r\.json: not "):
        read_result(path, key)


def test_a_huge_file_is_not_read_whole(key: Key, tmp_path: Path):
    path = tmp_path / "r.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="larger than 4 MiB"):
        read_result(path, key)


def test_the_last_of_a_rater_s_results_counts(key: Key, tmp_path: Path):
    early = read_result(saved(tmp_path / "a.json", result_of(key, "anna", finished="10:00:00")), key)
    late = read_result(saved(tmp_path / "b.json", result_of(key, "anna", finished="11:00:00")), key)
    other = read_result(saved(tmp_path / "c.json", result_of(key, "bert")), key)
    for order in ([early, late, other], [late, early, other]):
        kept, lines = latest(order)
        assert kept == [late, other]
        assert len(lines) == 1
        assert "a.json: left out: the same rater (anna) finished" in lines[0]


def test_the_command_counts_the_good_and_names_the_bad(
    key: Key, survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "results"
    folder.mkdir()
    for rater in ("anna", "bert", "cleo"):
        saved(folder / f"{rater}.json", result_of(key, rater))
    bad = result_of(key, "dora")
    bad["comment"] = "edited"
    saved(folder / "dora.json", bad)
    (folder / "notes.txt").write_text("not looked at")
    arguments = ["survey", "score", str(survey / "key.json"), str(folder), str(folder / "anna.json")]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "dora.json: was changed after" in captured.err
    assert "3 raters, 2 pieces, 6 votes a question" in captured.out
    assert main([*arguments, "--skip-invalid"]) == 0


def test_the_command_s_bad_arguments(survey: Path, key: Key, tmp_path: Path, refused: Callable[[list[str]], str]):
    good = saved(tmp_path / "anna.json", result_of(key, "anna"))
    key_path = str(survey / "key.json")
    assert "not the key of a listening test" in refused(["survey", "score", str(good), str(good)])
    assert "none.json: cannot be read: No such file" in refused(["survey", "score", "none.json", str(good)])
    (tmp_path / "empty").mkdir()
    assert "no .json files" in refused(["survey", "score", key_path, str(tmp_path / "empty")])
    assert "no .json files" in refused(["survey", "score", key_path, str(survey)])  # the key is no result
    assert "RESULT" in refused(["survey", "score", key_path])
    assert "cannot be made" in refused(["survey", "score", key_path, str(good), "-o", str(good)])


def test_no_valid_result_is_an_error(survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = saved(tmp_path / "r.json", {"format": "x"})
    assert main(["survey", "score", str(survey / "key.json"), str(path), "--skip-invalid"]) == 2
    assert capsys.readouterr().err.endswith("error: no valid results\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda k: k.pop("survey"),
        lambda k: k.update(methods=["a"]),
        lambda k: k.update(methods="walrus"),
        lambda k: k.update(methods=[1, 2, 3]),
        lambda k: k.update(pieces=[]),
        lambda k: k.update(pieces=[7]),
        lambda k: k["pieces"][0].update(outputs={}),
        lambda k: k["pieces"][0].update(outputs=[["a", "b"]]),
        lambda k: k["pieces"].append(k["pieces"][0]),
    ],
)
def test_a_damaged_key_is_one_line(change: Callable[[dict[str, Any]], object], survey: Path, tmp_path: Path):
    content = json.loads((survey / "key.json").read_text())
    change(content)
    with pytest.raises(UserError, match="a damaged key"):
        read_key(saved(tmp_path / "key.json", content))
