"""The rendered concept set: exact labels, a tree, fonts held out, and nothing half-written."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_sound_fonts import write_fake_font

from musicstar_ext.concepts import families, render
from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.playing import PITCH_NAMES, QUALITIES, play_notes, to_level
from musicstar_ext.concepts.render import plan_tracks
from musicstar_ext.data.instruments import PROGRAM_NAMES, can_play
from musicstar_ext.data.scores import Note
from musicstar_ext.errors import UserError


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fonts")
    return [write_fake_font(folder / "one.sf2"), write_fake_font(folder / "two.sf2", range(100))]


@pytest.fixture(scope="module")
def plans(fonts):
    return plan_tracks(fonts[:1], fonts[1], 32, ["major", "minor", "diminished"], 40, 0)


def test_there_are_enough_concepts_with_enough_tracks(plans):
    counts = Counter(concept for plan in plans for concept, _ in plan.labels())
    assert len(counts) >= 60
    assert len(plans) == 36 * 40
    chords = {name: count for name, count in counts.items() if name.split(" ")[-1] in QUALITIES and " " in name}
    assert set(chords.values()) == {40}
    instruments = {counts[name] for name in PROGRAM_NAMES if name in counts}
    assert max(instruments) - min(instruments) <= 3


def test_labels_say_what_is_played(plans):
    for plan in plans[::7]:
        classes = {note.pitch % 12 for note in plan.notes}
        assert classes == {(plan.root + step) % 12 for step in QUALITIES[plan.quality]}
        pitches = [note.pitch for note in plan.notes]
        assert can_play(plan.program, min(pitches), max(pitches))
        assert max(note.start + note.duration for note in plan.notes) <= render.SECONDS
        labels = [concept for concept, _ in plan.labels()]
        assert labels[:3] == [
            PROGRAM_NAMES[plan.program],
            families.family_of(plan.program),
            f"{PITCH_NAMES[plan.root]} {plan.quality}",
        ]


def test_the_held_out_font_plays_the_test_tracks_and_no_other(plans, fonts):
    by_split = defaultdict(set)
    for plan in plans:
        by_split[plan.split].add(plan.font)
    assert by_split == {"train": {fonts[0]}, "validation": {fonts[0]}, "test": {fonts[1]}}


def test_a_plan_depends_on_its_arguments_only(plans, fonts):
    assert plan_tracks(fonts[:1], fonts[1], 32, ["major", "minor", "diminished"], 40, 0) == plans
    assert plan_tracks(fonts[:1], fonts[1], 32, ["major", "minor", "diminished"], 40, 1) != plans


def test_families_hold_each_program_once():
    members = [program for family in families.FAMILIES.values() for program in family]
    assert len(members) == len(set(members))
    assert len(families.spread_over_families(range(128), 13)) == 13
    assert {families.family_of(program) for program in families.spread_over_families(range(128), 13)} == set(
        families.FAMILIES
    )


def test_qualities_cannot_be_taken_for_each_other():
    """No two qualities are the same pitch classes up to transposition."""
    forms = [min(tuple(sorted((s - r) % 12 for s in steps)) for r in steps) for steps in QUALITIES.values()]
    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--qualities", "major,odd"], "unknown quality 'odd'"),
        (["--tracks", "1"], "1 tracks a chord are too few"),
        (["--instruments", "1"], "fewer than two instruments"),
        (["--instruments", "0"], "above 0"),
    ],
)
def test_bad_options(fonts, tmp_path, capsys, options, problem):
    named = ["--sound-font", str(fonts[0]), "--test-sound-font", str(fonts[1])]
    assert main(["render", str(tmp_path / "set"), *named, *options]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(sound_fonts, tmp_path):
    with pytest.raises(UserError, match="is there already"):
        render.render_set([], tmp_path, 1, lambda *_: None)


def test_an_interrupted_set_leaves_nothing(sound_fonts, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "render_track", _interrupt)
    plans = plan_tracks(sound_fonts[:1], sound_fonts[1], 2, ["major"], 5, 0)
    with pytest.raises(KeyboardInterrupt):
        render.render_set(plans, tmp_path / "set", 1, lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def _interrupt(plan, folder: Path):
    (folder / plan.name).write_bytes(b"half")
    raise KeyboardInterrupt


def test_a_rendered_set(sound_fonts, tmp_path):
    plans = plan_tracks(sound_fonts[1:], sound_fonts[1], 2, ["minor"], 5, 0)[::20]
    for name in ("one", "two"):
        render.render_set(plans, tmp_path / name, 1, lambda *_: None)
    with (tmp_path / "one" / "concepts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * len(plans)
    for row in rows:
        samples, rate = soundfile.read(tmp_path / "one" / row["track"])
        assert (rate, len(samples)) == (16_000, 48_000)
        assert np.abs(samples).max() > 0.01
        assert (tmp_path / "two" / row["track"]).read_bytes() == (tmp_path / "one" / row["track"]).read_bytes()
    assert "child,parent" in (tmp_path / "one" / "tree.csv").read_text()


def test_a_note_has_the_pitch_that_its_label_says(sound_fonts):
    for font in sound_fonts[1:]:
        samples = play_notes(font, 73, [Note(0.0, 0.9, 69, 90)], 1.0)
        assert len(samples) == 16_000
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert spectrum.argmax() == pytest.approx(440, abs=6)


def test_levels():
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.05
    from musicstar_ext.runtime.level import gated_level_dbfs

    assert gated_level_dbfs(to_level(noise, -20)) == pytest.approx(-20, abs=0.1)
    assert np.abs(to_level(noise, 0)).max() <= 0.981
    np.testing.assert_array_equal(to_level(np.zeros(100, np.float32), -20), 0)
