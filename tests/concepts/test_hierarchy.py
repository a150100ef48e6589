"""`concepts hierarchy` as it is used: known trees come back, files are whole, bad input is one clear line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from concept_trees import concept_tree

from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.concept_file import ConceptSet, save
from musicstar_ext.concepts.heymann import HeymannConfig
from musicstar_ext.concepts.hierarchy import ALGORITHMS, HierarchyConfig, build
from musicstar_ext.concepts.hierarchy_audio import embedded, examples, excerpt, linked
from musicstar_ext.concepts.hierarchy_figure import radial_turns, write_figure
from musicstar_ext.concepts.hierarchy_scores import Reference, score
from musicstar_ext.concepts.trees import Tree
from musicstar_ext.errors import UserError

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    return concept_tree((4, 4))


@pytest.fixture(scope="module")
def file(concepts: ConceptSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("concepts") / "set.safetensors"
    save(concepts, path)
    return path


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """A function (arguments) -> what `hierarchy ... --json` prints."""

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["hierarchy", *map(str, arguments), "--json", "--permutations", "99"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main(["hierarchy", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return run


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_known_tree_comes_back(algorithm, concepts):
    found = build(concepts, [algorithm])
    scores = score(found, Reference(concepts.names, concepts.clusters, concepts.parents), 99)
    assert scores[algorithm]["same_cluster"]["share"] > 0.7
    assert scores[algorithm]["same_cluster"]["p"] <= 0.02
    assert scores[algorithm]["ancestor"]["f1"] > 3 * scores[algorithm]["ancestor"]["chance"]
    assert scores["random"]["same_cluster"]["share"] < 0.3 < scores["nearest neighbour"]["same_cluster"]["share"]


def test_equal_input_gives_equal_trees(concepts):
    config = HierarchyConfig(HeymannConfig(sources=5, seed=3))
    one, other = (build(concepts, config=config).trees for _ in range(2))
    assert all((one[name].parents == other[name].parents).all() for name in ALGORITHMS)


def test_clusters_follow_from_a_known_tree(concepts):
    by_tree = Reference(concepts.names, {}, concepts.parents)
    assert by_tree.cluster_of() == dict(concepts.clusters)
    assert Reference(concepts.names, {}, {}).cluster_of() == {}


def test_the_report(file, report):
    found = report(file)
    assert found["concepts"] == 20
    assert set(found["scores"]) == {*ALGORITHMS, "nearest neighbour", "random"}
    assert {"similarity", "centrality", "heymann", "scores", "total"} <= set(found["seconds"])
    assert set(report(file, "--algorithm", "spanning")["scores"]) == {"spanning", "nearest neighbour", "random"}


def test_the_table(file, capsys):
    assert main(["hierarchy", str(file), "--permutations", "9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 concepts, 128 tracks (gaussians one)"
    assert "same cluster (chance, p)" in lines[1]
    assert [line.split()[0] for line in lines[2:8]] == [*ALGORITHMS, "nearest", "random"]


def test_trees_as_csv(file, report, concepts, tmp_path):
    report(file, "--output", tmp_path / "trees.csv")
    with (tmp_path / "trees.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    found = build(concepts)
    assert len(rows) == len(ALGORITHMS) * len(concepts.names)
    for row in rows:
        child = concepts.number(row["child"])
        parent = int(found.trees[row["algorithm"]].parents[child])
        assert row["parent"] == ("" if parent < 0 else concepts.names[parent])
        if parent >= 0:
            assert float(row["similarity"]) == pytest.approx(float(found.firing[parent, child]), abs=1e-4)


def test_what_it_is_compared_with(file, report, concepts, tmp_path):
    (tmp_path / "clusters.csv").write_text("concept,cluster\n" + "".join(f"{n},{n[-1]}\n" for n in concepts.names))
    (tmp_path / "tree.csv").write_text("\ufeffchild,parent\n\na.a,a\na.b,a\na,\n")
    (tmp_path / "other.csv").write_text("".join(f"{name},{n}.0,1\n" for n, name in enumerate(concepts.names)))
    np.savez(
        tmp_path / "other.npz",
        names=np.array(concepts.names),
        vectors=np.stack([np.arange(20), np.ones(20)], axis=1),
    )
    plain = report(file)["scores"]
    found = report(file, "--clusters", tmp_path / "clusters.csv", "--tree", tmp_path / "tree.csv")["scores"]
    assert found["heymann"]["same_cluster"]["share"] < plain["heymann"]["same_cluster"]["share"]
    above = {tuple(pair) for pair in build(concepts).trees["heymann"].ancestors().tolist()}
    right = [(concepts.number("a"), concepts.number(child)) in above for child in ("a.a", "a.b")]
    assert found["heymann"]["ancestor"]["recall"] == sum(right) / 2
    csv_scores = report(file, "--embedding", tmp_path / "other.csv")["scores"]
    npz_scores = report(file, "--embedding", tmp_path / "other.npz")["scores"]
    for name, row in csv_scores.items():
        assert row["proxy_distance"] == npz_scores[name]["proxy_distance"] > 0
    assert csv_scores["random"]["proxy_distance"] == pytest.approx(7)  # mean |a - b| of 0 .. 19


def test_only_kept_concepts_unless_asked(concepts, report, refused, tmp_path):
    kept = np.zeros(len(concepts.names), np.bool_)
    kept[:6] = True
    save(replace(concepts, kept=kept), tmp_path / "some.safetensors")
    assert report(tmp_path / "some.safetensors")["concepts"] == 6
    assert report(tmp_path / "some.safetensors", "--every")["concepts"] == 20
    kept[1:] = False
    save(replace(concepts, kept=kept), tmp_path / "one.safetensors")
    assert "1 of its 20 concepts passed the keep rule" in refused(tmp_path / "one.safetensors")


def test_concepts_that_have_nothing_in_common(capsys, tmp_path):
    concepts = concept_tree((5,))
    save(replace(concepts, biases=concepts.biases - 50), tmp_path / "apart.safetensors")
    assert main(["hierarchy", str(tmp_path / "apart.safetensors"), "--permutations", "9"]) == 0
    said = capsys.readouterr()
    assert "no two concepts are similar enough to be joined" in said.err
    assert "heymann: no concept is below another" in said.err
    assert "arborescence: no concept is below another" in said.err


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--tree", "a,b\nb,c\nc,a\n", "tree.csv: the tree has a circle: a > b > c > a"),
        ("--tree", "a,b\na,c\n", "tree.csv: line 2: 'a' has two parents, 'b' and 'c'"),
        ("--tree", "x,y\ny,z\n", "tree.csv: names none of the concepts: it has 'x', 'y', they are 'a', 'b'"),
        ("--tree", "a,b,c\n", "tree.csv: line 1: must be child,parent"),
        ("--tree", "child,parent\n", "tree.csv: is empty"),
        ("--tree", 'a,"b\n', "tree.csv: line "),
        ("--clusters", "a,one\na,two\n", "tree.csv: line 2: 'a' is in two clusters"),
        ("--embedding", "a,1\nb,2,3\n", "tree.csv: line 2: must be a name and 1 numbers"),
        ("--embedding", "a,1\nb,nan\n", "tree.csv: line 2: 'b' has a figure that is not finite"),
        ("--embedding", "a,1\nb,x\n", "tree.csv: line 2: must be a name and numbers"),
        ("--embedding", "a,1\na,2\n", "tree.csv: line 2: 'a' is there twice"),
        ("--embedding", "x,1\ny,2\n", "tree.csv: has 0 of the 20 concepts"),
    ],
)
def test_bad_files_are_said(option, text, said, file, refused, tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text(text)
    assert said in refused(file, option, path)


def test_other_bad_input(file, refused, tmp_path):
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "other.npz", names=np.arange(3), vectors=np.zeros((3, 2)))
    assert "is not a text file" in refused(file, "--tree", binary)
    assert "cannot be read" in refused(file, "--tree", tmp_path / "absent.csv")
    assert "must be an npz" in refused(file, "--embedding", tmp_path / "bad.npz")
    assert "must be an npz" in refused(file, "--embedding", tmp_path / "other.npz")
    assert "no such file" in refused(tmp_path / "absent.safetensors").lower()
    assert "must end in .png, .pdf or .svg" in refused(file, "--figure", tmp_path / "f.gif")
    assert "cannot be written" in refused(file, "--html", tmp_path / "absent" / "page.html", "--audio", "none")
    assert "not from 0 to 1" in refused(file, "--edge-above", "nan")
    assert "less than 1" in refused(file, "--most-children", "0")


def test_strangers_in_a_tree_are_said_and_left_out(file, capsys, tmp_path):
    (tmp_path / "tree.csv").write_text("a.a,a\nstranger,a\nother,stranger\n")
    assert main(["hierarchy", str(file), "--tree", str(tmp_path / "tree.csv"), "--permutations", "9"]) == 0
    assert "1 of its names are not among the concepts and are left out: 'other'" in capsys.readouterr().err


def test_a_circle_in_the_concepts_file(concepts, refused, tmp_path):
    save(replace(concepts, parents={"a": "b", "b": "a"}), tmp_path / "c.safetensors")
    assert "the tree has a circle" in refused(tmp_path / "c.safetensors")


def test_figures(concepts, tmp_path):
    pytest.importorskip("matplotlib")
    tree = build(concepts, ["heymann"]).trees["heymann"]
    odd = ("$a$", "Ümlaut & <b>", *concepts.names[2:])
    for suffix in (".png", ".svg", ".pdf"):
        write_figure(tmp_path / f"tree{suffix}", odd, tree, concepts.clusters, "A title")
        assert (tmp_path / f"tree{suffix}").stat().st_size > 5000
    flat = Tree(np.full(3, -1))
    write_figure(tmp_path / "flat.png", ("x", "y", "z"), flat, {}, "")
    turns, leaves = radial_turns(tree)
    assert leaves == sum(not below for below in tree.children[:-1])
    assert (turns > 0).all()
    assert (turns < 1).all()


def write_tracks(concepts: ConceptSet, folder: Path, seconds: float = 1.0) -> None:
    for n, track in enumerate(concepts.tracks):
        t = np.arange(round(seconds * 8000)) / 8000
        soundfile.write(folder / track, 0.3 * np.sin(2 * np.pi * (200 + 3 * n) * t), 8000)


def test_examples_are_the_tracks_on_which_a_concept_fires_most(concepts):
    wanted = examples(concepts, 2)
    scores = concepts.scores(concepts.features)
    for concept, tracks in enumerate(wanted):
        own = np.flatnonzero(concepts.members[:, concept])
        assert [track for track, _ in tracks] == list(own[np.argsort(-scores[own, concept], kind="stable")[:2]])
        assert [score for _, score in tracks] == pytest.approx([scores[track, concept] for track, _ in tracks])


def test_sound_that_is_there_missing_or_too_much(concepts, tmp_path):
    write_tracks(concepts, tmp_path)
    wanted = examples(concepts, 2)
    all_tracks = {track for tracks in wanted for track, _ in tracks}
    heard = embedded(concepts.tracks, wanted, [tmp_path], 0.5, 10**9)
    assert set(heard.excerpts) == all_tracks
    assert not heard.warnings
    one = len(next(iter(heard.excerpts.values())))
    few = embedded(concepts.tracks, wanted, [tmp_path], 0.5, 5 * one)
    assert 0 < len(few.excerpts) < len(all_tracks)
    assert list(few.excerpts) == list(heard.excerpts)[: len(few.excerpts)]  # first tracks first
    assert "without sound: the page would be larger" in few.warnings[0]
    first = concepts.tracks[wanted[0][0][0]]
    (tmp_path / first).unlink()
    second = concepts.tracks[wanted[1][0][0]]
    (tmp_path / second).write_bytes(b"RIFF and nothing")
    broken = embedded(concepts.tracks, wanted, [tmp_path], 0.5, 10**9)
    assert len(broken.excerpts) == len(all_tracks) - 2
    assert any(second in line for line in broken.warnings)
    assert any("1 of" in line and "no such files" in line for line in broken.warnings)


def test_links_lead_from_the_page_to_the_files(concepts, tmp_path):
    (tmp_path / "my music#1").mkdir()
    write_tracks(concepts, tmp_path / "my music#1", 0.1)
    wanted = examples(concepts, 1)
    heard = linked(concepts.tracks, wanted, [tmp_path / "my music#1"], tmp_path / "pages" / "page.html")
    track = wanted[0][0][0]
    assert heard.links[track] == f"../my%20music%231/{concepts.tracks[track]}"


def test_an_excerpt_is_the_middle(tmp_path):
    samples = np.zeros(16_000 * 3, np.float32)
    samples[16_000:32_000] = 0.5
    soundfile.write(tmp_path / "x.wav", samples, 16_000)
    found = excerpt(tmp_path / "x.wav", 1.0)
    assert len(found) == 16_000
    assert found[0] == found[-1] == 0
    np.testing.assert_allclose(found[200:-200], 0.5, atol=1e-3)
    assert len(excerpt(tmp_path / "x.wav", 60)) == 48_000
    with pytest.raises(UserError, match="no such file"):
        excerpt(tmp_path / "y.wav", 1)


def test_an_interrupted_page_leaves_the_old_one(file, concepts, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("old")
    monkeypatch.setattr("musicstar_ext.concepts.hierarchy_page.write_atomically", interrupt)
    assert main(["hierarchy", str(file), "--html", str(page), "--audio", "none", "--permutations", "9"]) == 130
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_thousands_of_concepts_take_no_long():
    """The stages that grow fastest, at a size that shows it if one of them were cubic in Python."""
    random = np.random.default_rng(0)
    base = concept_tree((6, 6))
    count, tracks, channels = 1200, 2400, 32
    members = np.zeros((tracks, count), np.uint8)
    members[np.arange(tracks), np.arange(tracks) % count] = 1
    big = replace(
        base,
        names=tuple(f"c{n}" for n in range(count)),
        tracks=tuple(f"t{n}" for n in range(tracks)),
        vectors=random.standard_normal((count, channels)).astype(np.float32) / 4,
        biases=np.zeros(count, np.float32),
        means=np.zeros((count, channels), np.float32),
        features=random.standard_normal((tracks, channels)).astype(np.float32),
        members=members,
        balanced_accuracy=np.full(count, np.nan),
        auc=np.full(count, np.nan),
        kept=np.ones(count, np.bool_),
        clusters={},
        parents={},
    )
    found = build(big)
    assert all(len(tree) == count for tree in found.trees.values())
    assert found.joined > 1000
