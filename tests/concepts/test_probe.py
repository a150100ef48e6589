"""The probe: its clips are balanced and held out, its figures right on features that are known, its report whole."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="probes need scikit-learn")
pytest.importorskip("torch")

from musicstar_ext.cache import Cache
from musicstar_ext.concepts import probe, probe_set
from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.probe import Reading, balanced_accuracy, read_layers
from musicstar_ext.concepts.probe_report import draw, to_csv, to_json, to_markdown
from musicstar_ext.concepts.probe_set import FONT, PIECES, PITCH_NAMES, TRAINING, clip_audio, plan_clips

FONTS = [Path("one.sf2")], Path("two.sf2")
PLAYERS = {"lute": 24, "viol": 41}


@pytest.fixture(scope="module")
def clips():
    return plan_clips(*FONTS, PLAYERS)


def test_pitch_says_nothing_about_the_instrument(clips):
    pitches = defaultdict(set)
    for clip in clips:
        if clip.group == "notes":
            (program, (note,)) = clip.played[0]
            pitches[program].add(note.pitch)
    assert len(pitches) == 16
    assert set(map(frozenset, pitches.values())) == {frozenset(range(60, 84))}


def test_what_is_held_out_was_not_learned_from(clips):
    def key(clip):
        labels = dict(clip.labels)
        if clip.group in ("intervals", "chords"):
            return clip.group, min(note.pitch for note in clip.played[0][1])
        if clip.group == "notes":
            return labels["instrument"], clip.played[0][1][0].pitch
        return tuple(notes[0].pitch for _, notes in clip.played)

    for group in ("notes", "intervals", "chords", "mixtures"):
        parts = {
            part: {key(clip) for clip in clips if (clip.group, clip.part) == (group, part)}
            for part in (TRAINING, PIECES, FONT)
        }
        assert parts[TRAINING]
        assert parts[PIECES] == parts[FONT]
        assert not parts[TRAINING] & parts[PIECES]
    assert {clip.font.name for clip in clips if clip.part == FONT} == {"two.sf2"}
    assert {clip.font.name for clip in clips if clip.part != FONT} == {"one.sf2"}


def test_labels_say_what_is_played(clips):
    for clip in clips:
        labels = dict(clip.labels)
        pitches = [note.pitch for _, notes in clip.played for note in notes]
        assert min(pitches) >= 60
        assert max(pitches) <= 83
        if clip.group == "notes":
            assert labels["pitch class"] == PITCH_NAMES[pitches[0] % 12]
            assert labels["octave"] == str(pitches[0] // 12 - 1)
        elif clip.group == "intervals":
            assert labels["interval"] == str(pitches[1] - pitches[0])
        elif clip.group == "mixtures":
            assert [labels[f"pitch class of {role}"] for role in PLAYERS] == [PITCH_NAMES[p % 12] for p in pitches]
            assert [program for program, _ in clip.played] == list(PLAYERS.values())


def test_a_plan_depends_on_its_arguments_only(clips):
    assert plan_clips(*FONTS, PLAYERS) == clips
    assert plan_clips(*FONTS, PLAYERS, seed=1) != clips
    assert len(plan_clips(*FONTS, PLAYERS, 0.5)) < len(clips) < len(plan_clips(*FONTS, PLAYERS, 2.0))
    assert not [clip for clip in plan_clips(*FONTS, {}) if clip.group == "mixtures"]


class PitchOnly:
    """Knows the pitch class of a single note (told by the "audio", which the test replaces), and nothing else."""

    name = "toy"
    identity = "pitch-only"
    default_layer = "knows"
    frame_rate = 10.0

    def __init__(self, width: int = 12) -> None:
        self.layers = {"knows": width, "noise": 5}

    def features(self, samples, layers):
        random = np.random.default_rng(int(samples[0] * 1000))
        knows = np.zeros((4, self.layers["knows"]), np.float32)
        knows[:, int(samples[1]) :: 12] = 3
        knows += random.normal(size=knows.shape).astype(np.float32) * 0.1
        return {"knows": knows, "noise": random.normal(size=(4, 5)).astype(np.float32)}


@pytest.fixture(scope="module")
def readings():
    clips = [clip for clip in plan_clips(*FONTS, {}) if clip.group == "notes"]
    numbers = {id(clip): number for number, clip in enumerate(clips)}

    def audio(clip, cache):
        return np.array([numbers[id(clip)], clip.played[0][1][0].pitch % 12], np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "clip_audio", audio)
        return read_layers(clips, PitchOnly(), ["knows", "noise"], Cache(None), lambda *_: None)


def test_what_is_known_is_read_and_nothing_else(readings):
    found = {(one.layer, one.task, one.probe): one for one in readings}
    assert len(found) == 2 * 5 * 2
    for name in ("linear", "network"):
        known = found["knows", "pitch class", name]
        assert known.pieces == known.font == 1.0
        assert known.above_chance(known.font) == 1.0
        assert known.shuffled < 0.3
        assert abs(found["knows", "octave", name].pieces - 0.5) < 0.25
        assert found["knows", "instrument", name].font < 0.25
        assert found["noise", "pitch class", name].font < 0.25
    assert found["knows", "pitch class", "linear"].chance == pytest.approx(1 / 12)
    assert found["knows", "family", "linear"].chance == pytest.approx(1 / 8)


def test_wide_layers_are_brought_down(monkeypatch):
    clips = [clip for clip in plan_clips(*FONTS, {}) if clip.group == "notes"]
    pitches = {id(clip): clip.played[0][1][0].pitch % 12 for clip in clips}
    monkeypatch.setattr(probe, "clip_audio", lambda clip, cache: np.array([id(clip) % 997, pitches[id(clip)]], float))
    found = read_layers(clips, PitchOnly(500), ["knows"], Cache(None), lambda *_: None, ["linear"])
    assert found[0].task == "pitch class"
    assert found[0].font > 0.9


def test_balanced_accuracy_against_its_definition():
    labels, predicted = np.array(list("aaaabb")), np.array(list("aabbbb"))
    value, low, high = balanced_accuracy(labels, predicted)
    assert value == pytest.approx(0.75)
    assert low < value < high


def test_the_report(readings, tmp_path):
    found = {"model": readings}
    table = to_markdown(found)
    assert "| pitch class | toy, knows | 0.08 | 1.00 [1.00, 1.00] |" in table
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == len(readings)
    assert rows[0]["task"] == "pitch class"
    assert json.loads(json.dumps(to_json(found)))["model"][0]["layer"] == "knows"
    draw(found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_a_figure_that_is_not_there_is_empty():
    nothing = (np.nan, np.nan)
    one = Reading("toy", "a", "task", "linear", 0.5, 0.7, (0.6, 0.8), np.nan, nothing, 0.5)
    assert "| 0.70 [0.60, 0.80] |  |" in to_markdown({"model": [one]})
    assert to_json({"model": [one]})["model"][0]["font"] is None


def test_clips_are_played(sound_fonts, tmp_path):
    cache = Cache.at(tmp_path)
    clips = [
        clip
        for clip in plan_clips(sound_fonts[1:], sound_fonts[1], {"piano": 0, "organ": 16})
        if clip.group in ("notes", "mixtures")
    ][::60]
    for clip in clips:
        samples = clip_audio(clip, cache)
        assert samples.shape == (6400,)
        assert np.abs(samples).max() > 0.05
        np.testing.assert_array_equal(clip_audio(clip, cache), samples)


def test_the_command_probes_a_checkpoint(sound_fonts, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(probe_set, "PROGRAMS", (0, 16))
    monkeypatch.setattr(probe_set, "CHORDS", ("major", "minor"))

    def sines(clip, cache):  # instead of the sound font, which takes seconds to load
        t = np.arange(3200) / 16_000
        pitches = [note.pitch for _, notes in clip.played for note in notes]
        return np.sum([0.1 * np.sin(2 * np.pi * 440 * 2 ** ((p - 69) / 12) * t) for p in pitches], 0, dtype=np.float32)

    monkeypatch.setattr(probe, "clip_audio", sines)
    options = ["--size", "0.2", "--controls", "none", "--linear", "-o", str(tmp_path / "report")]
    assert main(["probe", str(tiny_model), *options]) == 0
    assert "| pitch class of strings | tiny, code |" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"report.{end}" for end in ("csv", "json", "md", "png")]
    layers = {one["layer"] for one in json.loads((tmp_path / "report.json").read_text())["tiny"]}
    assert layers == {"start", "layer1", "layer2", "layer3", "layer4", "code"}


def test_one_font_on_both_sides_is_refused(sound_fonts, tiny_model, capsys):
    fonts = ["--sound-font", str(sound_fonts[1]), "--test-sound-font", str(sound_fonts[1]), "--controls", "none"]
    assert main(["probe", str(tiny_model), *fonts]) == 2
    assert "both a sound font for training and the held-out one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["nothing"], "unknown model 'nothing'"),
        (["missing.safetensors"], "missing.safetensors: cannot be read"),
        (["MODEL", "--controls", "odd"], "'odd' is none of log-mel, musicnn"),
        (["MODEL", "--size", "0"], "between 0.1 and 100"),
        (["MODEL", "-o", "missing/report"], "missing"),
        (["MODEL", "MODEL"], "another checkpoint is called"),
        (["MODEL", "--mixture", "odd:thing:x"], "General MIDI"),
    ],
)
def test_bad_options_are_one_line(tiny_model, capsys, options, problem, sound_fonts):
    arguments = [str(tiny_model) if option == "MODEL" else option for option in options]
    assert (
        main(["probe", *arguments, "--controls", "none"] if "--controls" not in options else ["probe", *arguments]) == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert problem in error
