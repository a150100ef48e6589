"""Rolls of crops against a sample-by-sample count of which keys are held."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.data.crops import Crops
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.data.rolls import KEYS, LOWEST, NoteRolls
from musicstar_ext.errors import UserError

RATE, FRAME = 1000, 20
NOTES = {  # seconds: start, duration, pitch, velocity
    "a": [[0.0, 0.1, 60, 90], [0.05, 0.305, 64, 90], [0.36, 0.001, 64, 80], [0.1, 0.5, 20, 64], [0.2, 0.2, 109, 64]],
    "b": [[0.011, 0.2, 21, 90], [0.1, 0.3, 21, 70], [0.45, 9.0, 108, 1]],
}


@pytest.fixture
def prepared(tmp_path):
    def make(notes):
        silence = np.zeros(600, np.int16)
        entry = write_piece(
            tmp_path, "piece", dict.fromkeys(["a", "b", "ab"], silence), RATE, {"split": "train"}, notes
        )
        write_description(tmp_path, RATE, {"ab": ["a", "b"]}, {"piece": entry}, {})
        return PreparedSet.open(tmp_path)

    return make


def held(notes, start, frames):
    """Shares of each frame, counted in tenths of a sample; where two notes hold one key they add up, to 1 at most."""
    fine = 10
    time = (start + (np.arange(frames * FRAME * fine) + 0.5) / fine) / RATE
    roll = np.zeros((frames, KEYS))
    for begin, duration, pitch, _ in notes:
        if 0 <= pitch - LOWEST < KEYS:
            sounds = (time >= begin) & (time < begin + duration)
            roll[:, pitch - LOWEST] += sounds.reshape(frames, -1).mean(axis=1)
    return roll.clip(max=1)


@pytest.mark.parametrize("start", [0, 7, 100, 331, 500])
def test_share_of_a_frame_in_which_a_key_is_held(prepared, start):
    found = prepared(NOTES)
    rolls = NoteRolls(found, found.pieces("train"), ["a", "b"], FRAME)
    crop = rolls.crop(np.array([0]), np.array([start]), 100)
    assert set(crop) == {"a notes", "b notes"}
    for stem in "ab":
        roll = crop[f"{stem} notes"]
        assert roll.shape == (1, 5, KEYS)
        assert roll.dtype == np.float32
        assert roll[0] == pytest.approx(held(NOTES[stem], start, 5), abs=1e-4)


def test_a_batch_has_the_notes_of_its_crops(prepared):
    found = prepared(NOTES)
    crops = Crops(found, "train", ["ab"], 60, 3, 0, noted=["b"], frame_samples=FRAME)
    spans, batch = crops.spans(4), crops.batch(4)
    assert set(batch) == {"ab", "b notes"}
    expected = np.stack([held(NOTES["b"], start, 3) for start in spans.starts])
    assert batch["b notes"] == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(crops.batch(4, rows=slice(1, 3))["b notes"], batch["b notes"][1:])
    assert set(crops.batch(4, without=["ab"])) == {"b notes"}  # tracks on a GPU: the notes still come from here


@pytest.mark.parametrize("notes", [None, {"a": NOTES["a"]}])
def test_notes_that_are_missing(prepared, notes):
    found = prepared(notes)
    with pytest.raises(UserError, match=r"piece 'piece' has no notes of '[ab]'"):
        NoteRolls(found, found.pieces("train"), ["a", "b"], FRAME)
