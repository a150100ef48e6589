from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_sound_fonts import write_fake_font

from musicstar_ext.data.__main__ import main


@pytest.fixture
def fonts(tmp_path: Path) -> list[str]:
    """Arguments that name two files which look like sound fonts."""
    for name in ("a.sf2", "b.sf2"):
        write_fake_font(tmp_path / name)
    return ["--sound-font", str(tmp_path / "a.sf2"), "--test-sound-font", str(tmp_path / "b.sf2")]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a command that ends with exit status 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "required"),
        (["sing"], "invalid choice"),
        (["render"], "OUT"),
        (["render", "out", "--hours", "0"], "above 0"),
        (["render", "out", "--hours", "nan"], "must be a number"),
        (["render", "out", "--hours", "1e9"], "at most 10000"),
        (["render", "out", "--pieces", "0"], "above 0"),
        (["render", "out", "--pieces", "-3"], "above 0"),
        (["render", "out", "--pieces", "2.5"], "whole number"),
        (["render", "out", "--pieces", "2", "--hours", "1"], "not allowed with"),
        (["render", "out", "--jobs", "0"], "above 0"),
        (["render", "out", "--seed", "-1"], "from 0"),
        (["render", "out", "--seed", "x"], "from 0"),
        (["render", "out", "--split", "0.8,0.2"], "three shares"),
        (["render", "out", "--split", "0.8,0.3,0.1"], "three shares"),
        (["render", "out", "--split", "1.2,-0.1,-0.1"], "three shares"),
        (["render", "out", "--split", "a,b,c"], "must be a number"),
        (["render", "out", "--domain", "a=x:kazoo"], "'kazoo' is no General MIDI program"),
        (["render", "out", "--domain", "a=x:0", "--domain", "b=y:0,z:0"], "same number of stems"),
        (["render", "out", "--domain", "a=x:piccolo", "--domain", "b=y:tuba"], "less than an octave"),
        (["render", "out", "--range", "strings=C9-C1"], "STEM=LOWEST-HIGHEST"),
        (["render", "out", "--range", "flute=C4-C6"], "no such stem; there are strings, piano"),
        (["render", "out", "--source", "strings"], "no such domain; there are strings-piano, clarinet-vibraphone"),
        (["render", "out", "--source", "strings-piano", "--source", "strings-piano"], "may be given once"),
        (["render", "out", "--sound-font", "few.sf2"], "few.sf2: has no General MIDI program 11"),
        (["render", "out", "--sound-font", "/none.sf2"], "/none.sf2: cannot be read: No such file"),
        (["render", "out", "--sound-font", __file__], "not a sound font"),
    ],
)
def test_each_bad_argument_is_one_line(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    write_fake_font(tmp_path / "held-out.sf2")
    write_fake_font(tmp_path / "few.sf2", [0, 48, 71])
    if "--sound-font" in arguments:
        arguments = [*arguments, "--test-sound-font", "held-out.sf2"]
    assert problem in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_the_held_out_font_is_another_one(tmp_path: Path, fonts: list[str], capsys: pytest.CaptureFixture[str]):
    (tmp_path / "link.sf2").symlink_to(tmp_path / "a.sf2")
    arguments = ["render", str(tmp_path / "out"), *fonts[:2], "--test-sound-font", str(tmp_path / "link.sf2")]
    assert "both a sound font for training and the held-out one" in refused(arguments, capsys)


def test_without_installed_fonts_the_packages_are_named(
    tmp_path: Path, fonts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("musicstar_ext.data.sound_fonts.FOLDERS", (tmp_path,))
    assert "apt install fluid-soundfont-gm" in refused(["render", str(tmp_path / "out")], capsys)
    assert "apt install fluid-soundfont-gm timgm6mb-soundfont" in refused(
        ["render", str(tmp_path / "out"), *fonts[:2]], capsys
    )


def test_without_the_binding_or_the_library_their_packages_are_named(
    tmp_path: Path, fonts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arguments = ["render", str(tmp_path / "out"), *fonts]
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    assert "this needs pyfluidsynth: pip install 'musicstar-ext[train]'" in refused(arguments, capsys)
    monkeypatch.delitem(sys.modules, "fluidsynth")
    (tmp_path / "fluidsynth.py").write_text("raise ImportError('Couldn\\'t find the FluidSynth library.')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "apt install fluidsynth" in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_without_music21_its_extra_is_named(
    tmp_path: Path,
    fonts: list[str],
    sound_font: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setitem(sys.modules, "music21", None)
    assert "this needs music21: pip install" in refused(["render", str(tmp_path / "out"), *fonts], capsys)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(
    tmp_path: Path, fonts: list[str], sound_font: Path, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("music21", reason="scores come with music21")
    (tmp_path / "out").touch()
    assert "is a file" in refused(["render", str(tmp_path / "out"), *fonts], capsys)
