"""Labels as users write them: folders, tables, trees; and every way in which they can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from musicstar_ext.concepts.tracks import read_labels, read_tree
from musicstar_ext.errors import UserError

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    """Two concepts with two tracks each, of which one is in both, and a concept without any."""
    random = np.random.default_rng(0)
    noise = [random.normal(size=800).astype(np.float32) * 0.1 for _ in range(3)]
    for place, samples in (("lute/a.wav", 0), ("lute/deep/b.wav", 1), ("viol/c.flac", 2), ("viol/copy of b.wav", 1)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place, noise[samples], RATE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "lute" / "notes.txt").write_text("no audio")
    return tmp_path


def test_a_folder_of_folders(folder):
    said = []
    labels = read_labels(folder, said.append)
    assert {track.name: track.concepts for track in labels.tracks} == {
        "lute/a.wav": {"lute"},
        "lute/deep/b.wav": {"lute", "viol"},
        "viol/c.flac": {"viol"},
    }
    assert said == [f"{folder / 'empty'}: a concept without audio files is left out"]


def test_a_copy_in_the_same_concept_is_told(folder):
    (folder / "lute" / "again.wav").write_bytes((folder / "lute" / "a.wav").read_bytes())
    said = []
    assert len(read_labels(folder, said.append).tracks) == 3
    assert any("the same recording as" in line and "counted once in lute" in line for line in said)


def test_a_table(folder):
    table = folder / "labels.csv"
    table.write_text(
        "track,concept,cluster,split\nlute/a.wav,lute,plucked,train\n\nlute/a.wav,old,,\n"
        "viol/c.flac, viol ,bowed,test\nviol/c.flac,viol,bowed,test\nmissing.wav,lute,plucked,train\n"
    )
    said = []
    labels = read_labels(table, said.append)
    assert [(track.name, sorted(track.concepts), track.split) for track in labels.tracks] == [
        ("lute/a.wav", ["lute", "old"], "train"),
        ("viol/c.flac", ["viol"], "test"),
    ]
    assert labels.clusters == {"lute": "plucked", "viol": "bowed"}
    assert labels.concepts == ["lute", "old", "viol"]
    assert "line 6: viol/c.flac belongs to 'viol' already" in said[0]
    assert "missing.wav: left out: cannot be read: No such file" in said[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.wav\n", "line 1: must be track,concept"),
        ("a.wav,\n", "line 1: must be track,concept"),
        ("a.wav,x,y,train,more\n", "line 1: must be"),
        ("a.wav,x,y,holiday\n", "split must be one of train, validation, test, not 'holiday'"),
        ("a.wav,x,y\nb.wav,x,z\n", "line 2: 'x' has two clusters, 'y' and 'z'"),
        ("a.wav,x,y,train\na.wav,z,,test\n", "line 2: a.wav is in the splits train and test"),
        ('a.wav,"x\n', "not a CSV"),
        ("a\0.wav,x\n", "zero bytes"),
        ("track,concept\n", "has no tracks"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, problem):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=problem) as caught:
        read_labels(path, lambda line: None)
    assert str(path) in str(caught.value)


def test_a_copy_in_another_split_is_refused(folder):
    table = folder / "labels.csv"
    table.write_text("lute/deep/b.wav,x,,train\nviol/copy of b.wav,x,,test\n")
    with pytest.raises(UserError, match="but in another split"):
        read_labels(table, lambda line: None)


def test_what_is_neither_folder_nor_table(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read_labels(tmp_path / "nothing", lambda line: None)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        read_labels(tmp_path / "binary.csv", lambda line: None)


def test_trees(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text("child,parent\nlute,plucked\nharp,plucked\nplucked,strings\n")
    assert read_tree(path) == {"lute": "plucked", "harp": "plucked", "plucked": "strings"}
    for text, problem in (
        ("a,b\nb,c\nc,a\n", "is its own ancestor"),
        ("a,b\na,c\n", "two parents"),
        ("a,a\n", "is its own ancestor"),
        ("a\n", "line 1: must be child,parent"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=problem):
            read_tree(path)
