"""Notes and frames: the tracker, the scores by hand, and files of notes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.evaluation import notes
from musicstar_ext.evaluation.pitch import HOP

FRAME = HOP / 16_000


def test_runs_become_notes_and_short_ones_do_not():
    frames = [{60}] * 10 + [{60, 64}] * notes.SHORTEST + [{60}] * 3 + [set()] + [{60}] * (notes.SHORTEST - 1)
    found = notes.track_notes(frames)
    assert found.tolist() == pytest.approx(
        np.array([[0, 19 * FRAME, 60], [10 * FRAME, (10 + notes.SHORTEST) * FRAME, 64]])
    )


def test_no_frames_no_notes():
    assert notes.track_notes([]).shape == (0, 3)
    assert notes.track_notes([set()] * 20).shape == (0, 3)


def test_note_scores_by_hand():
    pytest.importorskip("mir_eval")
    true = np.array([[0.0, 0.5, 60], [0.5, 1.0, 64], [1.0, 1.5, 67], [1.0, 1.5, 72]])
    found = np.array([[0.04, 0.3, 60], [0.56, 1.0, 64], [1.0, 1.5, 67]])  # right, too late, right
    scores = notes.note_scores(found, true)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["f"] == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_scores_of_nothing():
    none, some = np.zeros((0, 3)), np.array([[0.0, 1.0, 60.0]])
    assert set(notes.note_scores(none, none).values()) == {1.0}
    assert set(notes.note_scores(some, none).values()) == set(notes.note_scores(none, some).values()) == {0.0}
    empty, sounding = [np.zeros(0)] * 3, [np.array([440.0])] * 3
    assert set(notes.pitch_scores(empty, empty).values()) == {1.0}
    assert set(notes.pitch_scores(empty, sounding).values()) == {0.0}


def test_pitch_scores_by_hand():
    pytest.importorskip("mir_eval")
    true = [np.array([440.0]), np.array([440.0, 660.0]), np.array([440.0]), np.zeros(0)]
    found = [np.array([441.0]), np.array([440.0]), np.array([880.0]), np.array([220.0])]
    scores = notes.pitch_scores(found, true)  # 2 right, 2 wrong, 2 missed; one of the wrong is an octave too high
    assert scores["precision"] == pytest.approx(2 / 4)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["accuracy"] == pytest.approx(2 / 6)
    assert scores["chroma_accuracy"] == pytest.approx(3 / 5)
    with pytest.raises(UserError, match="frames"):
        notes.pitch_scores(found, true[:2])


def test_true_notes_sound_in_their_frames():
    played = np.array([[2 * FRAME, 4 * FRAME, 69], [3 * FRAME, 100.0, 57]])
    frames = notes.sounding_frequencies(played, 6)
    assert [frame.tolist() for frame in frames] == [[], [], [440], [220, 440], [220], [220]]


def test_notes_of_chosen_stems_once_and_only_those_that_are_heard():
    stems = {
        "flute": np.array([[0.0, 1.0, 60, 80], [5.0, 1.0, 62, 80]]),
        "harp": np.array([[0.0, 1.0, 60, 90], [1.0, 9.0, 64, 90]]),
    }
    assert notes.true_notes(stems, seconds=4.0).tolist() == [[0, 1, 60], [1, 4, 64]]
    assert notes.true_notes(stems, ["flute"]).tolist() == [[0, 1, 60], [5, 6, 62]]
    with pytest.raises(UserError, match=r"'oboe'.*flute, harp"):
        notes.true_notes(stems, ["oboe"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nonsense", '{"a": 1}', '{"a": [[0, 1, 60]]}', '{"a": [[0, 1, 128, 1]]}', '{"a": [[-1, 1, 60, 1]]}'],
)
def test_a_bad_file_of_notes_is_named(text: str, tmp_path: Path):
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"notes\.json"):
        notes.read_notes(path)


def test_a_good_file_of_notes_is_read(tmp_path: Path):
    path = tmp_path / "notes.json"
    path.write_text(json.dumps({"a": [[0, 1.5, 60, 80]], "b": []}))
    read = notes.read_notes(path)
    assert read["a"].tolist() == [[0, 1.5, 60, 80]]
    assert read["b"].shape == (0, 4)
    with pytest.raises(UserError, match="no such file"):
        notes.read_notes(tmp_path / "other.json")
