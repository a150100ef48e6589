from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from fake_sound_fonts import write_fake_font

from musicstar_ext.data import variety
from musicstar_ext.data.instruments import DEFAULT_DOMAINS, can_play, equivalents
from musicstar_ext.data.scores import Note, Voice
from musicstar_ext.data.synthesis import BLOCK, SYNTHESIS_RATE
from musicstar_ext.data.variety import (
    MOST_JITTER,
    Performance,
    plain_performances,
    sounding_notes,
    varied_performances,
)

PLAYERS = DEFAULT_DOMAINS["strings-piano"]
VOICE: Voice = tuple(Note(0.01 * i, 0.009, 60 + i % 3, 40 + i % 70) for i in range(200))
STEMS = ((VOICE,), (VOICE,))


@pytest.fixture
def fonts(tmp_path: Path) -> list[Path]:
    return [write_fake_font(tmp_path / "all.sf2"), write_fake_font(tmp_path / "few.sf2", [0, 48, 40])]


@pytest.fixture
def performances(fonts: list[Path]) -> list[dict[str, Performance]]:
    return [varied_performances(PLAYERS, STEMS, fonts, random.Random(i)) for i in range(60)]


def test_everything_varies_within_what_it_may(performances: list[dict[str, Performance]], fonts: list[Path]):
    for stem, player in zip(("strings", "piano"), PLAYERS, strict=True):
        mine = [stems[stem] for stems in performances]
        assert {performance.sound_font for performance in mine} == set(fonts)
        assert {p.program for p in mine if p.sound_font == fonts[1]} == {0: {0}, 48: {48, 40}}[player.program]
        programs = [p.program for p in mine if p.sound_font == fonts[0]]
        assert {p for p in equivalents(player.program) if can_play(p, 60, 62)} == set(programs)
        assert 0.4 < programs.count(player.program) / len(programs) < 0.9
        assert all(abs(p.cents) <= 10 and 0.6 <= p.touch <= 1.6 and p.jitter <= MOST_JITTER < 0.005 for p in mine)
        assert all(abs(p.pan) <= variety.MOST_SPREAD and abs(p.tilt) <= 2.25 for p in mine)
        rooms = [p.room for p in mine if p.room]
        assert 0.1 <= min(room.decay for room in rooms) < 0.4 < 0.9 < max(room.decay for room in rooms) <= 1.2
        assert max(room.wet for room in rooms) <= 0.4
        assert any(p.room is None for p in mine)
        noises = [p.noise for p in mine if p.noise is not None]
        assert -63.1 <= min(noises) < -58 < -52 < max(noises) <= -48  # two stems make a mixture's -60..-45
        assert any(p.noise is None for p in mine)
        for name in ("cents", "touch", "jitter", "tilt", "pan", "seed"):
            assert len({getattr(p, name) for p in mine}) > 30, name


def test_the_stems_of_a_piece_share_room_tuning_and_noise(performances: list[dict[str, Performance]]):
    for strings, piano in (stems.values() for stems in performances):
        assert (strings.room is None) == (piano.room is None)
        if strings.room and piano.room:
            assert (strings.room.decay, strings.room.delay) == (piano.room.decay, piano.room.delay)
            assert strings.room.seed != piano.room.seed
        assert strings.noise == piano.noise
        assert abs(strings.cents - piano.cents) <= 2 * variety.OWN_CENTS + 0.01


def test_an_equivalent_that_cannot_play_the_notes_is_not_taken(fonts: list[Path]):
    low = ((Note(0.0, 1.0, 50, 90),),)
    programs = {
        varied_performances(PLAYERS[:1], (low,), fonts[:1], random.Random(i))["strings"].program for i in range(80)
    }
    assert programs == {48, 50, 51, 41, 42}  # not the violin


def test_a_plain_performance_only_puts_notes_on_blocks(fonts: list[Path]):
    performances = plain_performances(PLAYERS, fonts[0])
    assert [performance.pan for performance in performances.values()] == [-0.25, 0.25]
    (sounding,) = sounding_notes((VOICE,), performances["piano"])
    for note, planned in zip(sounding, VOICE, strict=True):
        assert (note.pitch, note.velocity) == (planned.pitch, planned.velocity)
        assert abs(note.start - planned.start) <= 0.5001 * BLOCK / SYNTHESIS_RATE


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_bounded_and_a_key_is_let_go_before_it_is_struck_again(fonts: list[Path], seed: int):
    fast: Voice = tuple(Note(0.004 * i, 0.0036, 60 + i % 2, 90) for i in range(200))
    for voice in (VOICE, fast):
        (sounding,) = sounding_notes((voice,), Performance(fonts[0], 0, 0.0, jitter=MOST_JITTER, seed=seed))
        assert sounding == sounding_notes((voice,), Performance(fonts[0], 0, 0.0, jitter=MOST_JITTER, seed=seed))[0]
        starts = {(note.pitch, note.velocity): note.start for note in sounding}
        assert len(sounding) > 0.9 * len(voice)
        assert min(starts.values()) >= 0
        for pitch in {note.pitch for note in sounding}:
            same = [note for note in sounding if note.pitch == pitch]
            assert all(a.start + a.duration <= b.start + 1e-9 and a.duration > 0 for a, b in pairwise(same))
    moved = [
        min(abs(note.start - planned.start) for planned in VOICE)
        for note in sounding_notes((VOICE,), Performance(fonts[0], 0, 0.0, jitter=MOST_JITTER, seed=seed))[0]
    ]
    assert 0.001 < max(moved) < 0.005


def test_touch_bends_velocities_and_keeps_their_order(fonts: list[Path]):
    voice: Voice = tuple(Note(0.5 * i, 0.4, 60, velocity) for i, velocity in enumerate((1, 40, 80, 127)))
    for touch in (0.6, 1.6):
        (sounding,) = sounding_notes((voice,), Performance(fonts[0], 0, 0.0, touch=touch))
        velocities = [note.velocity for note in sounding]
        assert velocities == sorted(velocities)
        assert velocities[0] >= 1
        assert velocities[-1] == 127
        assert (velocities[2] > 80) == (touch < 1)


def test_what_is_told_of_a_performance_is_json_without_what_is_as_usual(
    performances: list[dict[str, Performance]], fonts: list[Path]
):
    told = performances[0]["strings"].described()
    assert json.loads(json.dumps(told)) == told
    assert told["sound_font"] in {"all.sf2", "few.sf2"}
    plain = plain_performances(PLAYERS, fonts[0])["piano"].described()
    assert plain == {"sound_font": "all.sf2", "program": 0, "pan": 0.25}
