"""Rendering for real; skips, saying so, without fluidsynth, a sound font or music21."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.data import render
from musicstar_ext.data.plan import PROGRAMS, PiecePlan, SetOptions
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import read_whole_piece
from musicstar_ext.data.render import SAMPLE_RATE, TRACKS, mix_piece, render_set
from musicstar_ext.data.scores import Note, Score
from musicstar_ext.data.synthesis import SYNTHESIS_RATE, TAIL, SoundFont
from musicstar_ext.errors import UserError

CHORALE = "bach/bwv320.mxl"
SCALE = [60, 62, 64, 65, 67, 69, 71, 72]
ALL_PROGRAMS = [program for programs in PROGRAMS.values() for program in programs.values()]


def scale(offset: int) -> tuple[Note, ...]:
    return tuple(Note(0.5 * i, 0.45, pitch + offset, 90) for i, pitch in enumerate(SCALE))


@pytest.fixture
def scale_plan(sound_font: Path) -> PiecePlan:
    """A scale for the first instrument, an octave below it for the second."""
    score = Score(((scale(0),), (scale(-5),)), 0, 120.0, 0)
    return PiecePlan("0001-scale", "train", "scale", "Scale", "Nobody", 0, 0, score, sound_font, 2.0)


@pytest.fixture
def font(sound_font: Path):
    font = SoundFont(sound_font, ALL_PROGRAMS)
    yield font
    font.close()


def test_a_piece_is_rendered_the_same_every_time(scale_plan: PiecePlan, font: SoundFont):
    once, levels, gains = mix_piece(scale_plan, font)
    font.play((scale(3),), 0, 4.0)  # what was played before leaves no trace
    again, *others = mix_piece(scale_plan, font)
    assert others == [levels, gains]
    for track in TRACKS:
        np.testing.assert_array_equal(once[track], again[track])


def test_tracks_are_aligned_and_a_mixture_is_the_sum_of_its_stems(scale_plan: PiecePlan, font: SoundFont):
    tracks, levels, _ = mix_piece(scale_plan, font)
    assert list(tracks) == TRACKS
    (length,) = {len(audio) for audio in tracks.values()}
    assert abs(length / SAMPLE_RATE - (scale_plan.score.seconds + TAIL)) < 0.002
    for domain, programs in PROGRAMS.items():
        total = sum(tracks[stem].astype(int) for stem in programs)
        np.testing.assert_array_equal(total, tracks[domain])
        assert 0.6 * 32768 < np.abs(total).max() < 0.71 * 32768  # -3 dBFS, or a stem's peak
        level = levels[domain]
        assert level is not None
        assert -40 < level < -3


def test_notes_begin_when_the_score_says(font: SoundFont):
    """Struck instruments sound at once; after a second of rest, the first loud sample is their attack."""
    voice = tuple(Note(0.1 + 1.1 * i, 0.1, pitch, 100) for i, pitch in enumerate(SCALE))
    for program in (PROGRAMS["strings-piano"]["piano"], PROGRAMS["clarinet-vibraphone"]["vibraphone"]):
        audio = np.abs(font.play((voice,), program, 9.0))
        for note in voice:
            around = audio[round((note.start - 0.05) * SYNTHESIS_RATE) : round((note.start + 0.05) * SYNTHESIS_RATE)]
            attack = np.argmax(around > 0.3 * around.max()) / SYNTHESIS_RATE - 0.05
            assert -0.002 < attack < 0.015


@pytest.mark.parametrize("program", ALL_PROGRAMS)
def test_pitches_are_those_of_the_score(font: SoundFont, program: int):
    audio = font.play((scale(0),), program, 4.0)
    size = 1 << 16
    for note in scale(0):
        start = round((note.start + 0.1) * SYNTHESIS_RATE)
        part = audio[start : start + round(0.3 * SYNTHESIS_RATE)]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
        pitch = 69 + 12 * np.log2(np.maximum(np.arange(len(spectrum)) * SYNTHESIS_RATE / size, 1) / 440)
        near = np.abs(pitch - note.pitch) < 1.5  # the loudest within a tone and a half is the note itself
        assert abs(pitch[near][spectrum[near].argmax()] - note.pitch) < 0.5


def test_a_font_without_the_instruments_is_refused(sound_font: Path, tmp_path: Path):
    (tmp_path / "text.sf2").write_text("no font")
    with pytest.raises(UserError, match="not a sound font"):
        SoundFont(tmp_path / "text.sf2", ALL_PROGRAMS)
    (tmp_path / "cut.sf2").write_bytes(sound_font.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot load"):
        SoundFont(tmp_path / "cut.sf2", ALL_PROGRAMS)


@pytest.fixture
def one_chorale(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("music21", reason="scores come with music21")
    monkeypatch.setattr(render, "score_names", lambda: [[CHORALE]])


@pytest.mark.usefixtures("one_chorale")
def test_a_set_is_whole_and_a_second_run_keeps_what_is_whole(sound_font: Path, tmp_path: Path):
    output = tmp_path / "set"
    options = SetOptions(0, {"train": 1.0, "validation": 0.0, "test": 0.0}, {"train": [sound_font]})
    report = render_set(output, options, pieces=2, jobs=2)
    assert (report.pieces, report.kept) == (2, 0)
    prepared = PreparedSet.open(output)
    first, second = prepared.pieces("train")
    assert report.hours == pytest.approx((first.samples + second.samples) / SAMPLE_RATE / 3600)
    assert first.details["score"] == CHORALE
    assert first.details["sound_font"] == sound_font.name

    lost = output / second.name / "piano.wav"
    expected = lost.read_bytes()
    lost.unlink()
    stamp = (output / first.name).stat().st_mtime_ns
    report = render_set(output, options, pieces=2, jobs=1)
    assert (report.pieces, report.kept) == (2, 1)
    assert lost.read_bytes() == expected
    assert (output / first.name).stat().st_mtime_ns == stamp
    assert PreparedSet.open(output).made_by["seed"] == 0


RENDER_MANY = """
import sys
from pathlib import Path
from musicstar_ext.data import render
from musicstar_ext.data.plan import SetOptions
from musicstar_ext.errors import run_command
output, font, score = sys.argv[1:]
render.score_names = lambda: [[score]]
options = SetOptions(0, {"train": 1.0, "validation": 0.0, "test": 0.0}, {"train": [Path(font)]})
sys.exit(run_command(lambda: print(render.render_set(Path(output), options, pieces=60, jobs=2)), "render"))
"""


@pytest.mark.usefixtures("one_chorale")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_render_that_is_stopped_leaves_whole_pieces_only(
    sound_font: Path, tmp_path: Path, sent: signal.Signals, status: int
):
    output = tmp_path / "set"
    command = [sys.executable, "-c", RENDER_MANY, str(output), str(sound_font), CHORALE]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(output.glob("0*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, sent)
    assert process.wait(20) == status, (tmp_path / "log").read_text()
    deadline = time.monotonic() + 20
    while group_lives(process.pid) and time.monotonic() < deadline:  # workers notice that their parent has gone
        time.sleep(0.1)
    assert not group_lives(process.pid)

    pieces = [path.name for path in output.iterdir() if not path.name.startswith(".")]
    assert pieces
    assert all(read_whole_piece(output, piece, TRACKS) for piece in pieces)
    if sent is signal.SIGINT:
        assert [path.name for path in output.iterdir() if path.name.startswith(".")] == [".scores"]
    with pytest.raises(UserError, match="not finished yet"):
        PreparedSet.open(output)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
