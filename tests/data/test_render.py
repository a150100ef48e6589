"""Rendering for real; skips, saying so, without fluidsynth, a sound font or music21."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from short_scores import cache_short_scores

from musicstar_ext.data import render, scores
from musicstar_ext.data.instruments import DEFAULT_DOMAINS, make_domains, parse_domain
from musicstar_ext.data.mixing import SAMPLE_RATE
from musicstar_ext.data.plan import SetOptions
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import read_whole_piece
from musicstar_ext.data.render import render_set, tracks_of
from musicstar_ext.errors import UserError

TRACKS = tracks_of(DEFAULT_DOMAINS)
ALL_FOR_TRAINING = {"train": 1.0, "validation": 0.0, "test": 0.0}


@pytest.fixture
def short_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus is a few scores of four seconds, which are not parsed."""
    pytest.importorskip("music21", reason="scores come with music21")
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "cache"))
    names = cache_short_scores(tmp_path / "cache", 3)
    monkeypatch.setattr(render, "score_names", lambda: [names])
    monkeypatch.setattr(scores, "SHORTEST", 1.0)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("short_scores")
def test_a_set_is_whole_and_a_second_run_keeps_what_is_whole(sound_font: Path, tmp_path: Path):
    output = tmp_path / "set"
    options = SetOptions(0, ALL_FOR_TRAINING, {"train": [sound_font]})
    report = render_set(output, options, pieces=4, jobs=2)
    assert (report.pieces, report.kept, report.scores, report.most_often) == (4, 0, 3, 2)
    prepared = PreparedSet.open(output)
    pieces = prepared.pieces("train")
    assert report.hours == pytest.approx(sum(piece.samples for piece in pieces) / SAMPLE_RATE / 3600)
    first, second, *_ = pieces
    assert first.details["score"].startswith("short/")
    assert first.details["performances"]["strings-piano"]["piano"]["sound_font"] == sound_font.name
    notes = first.notes()
    assert notes is not None
    assert list(notes) == ["strings", "piano", "clarinet", "vibraphone"]
    np.testing.assert_array_equal(notes["strings"], notes["clarinet"])
    assert (notes["piano"][:, 0] + notes["piano"][:, 1]).max() < first.samples / SAMPLE_RATE

    lost = output / second.name / "piano.wav"
    expected = lost.read_bytes()
    lost.unlink()
    stamp = (output / first.name).stat().st_mtime_ns
    report = render_set(output, options, pieces=4, jobs=1)
    assert (report.pieces, report.kept) == (4, 3)
    assert lost.read_bytes() == expected
    assert (output / first.name).stat().st_mtime_ns == stamp
    assert PreparedSet.open(output).made_by["seed"] == 0


@pytest.mark.usefixtures("short_scores")
def test_three_instruments_a_source_and_a_full_rate_copy_are_the_same_with_any_number_of_jobs(
    sound_font: Path, tmp_path: Path
):
    asked = [
        "strings-piano-flute=strings:48,piano:0,flute:73",
        "clarinet-vibraphone-trumpet=clarinet,vibraphone,trumpet",
    ]
    domains = make_domains([parse_domain(text) for text in asked])
    options = SetOptions(5, ALL_FOR_TRAINING, {"train": [sound_font]}, domains, "strings-piano-flute")
    one, other = tmp_path / "one", tmp_path / "other"
    render_set(one, options, pieces=2, jobs=1, full_rate=True)
    render_set(other, options, pieces=2, jobs=2)
    alone = files_of(other)
    assert not [name for name in alone if name.startswith("full-rate")]
    assert {name: data for name, data in files_of(one).items() if not name.startswith("full-rate")} == alone

    prepared = PreparedSet.open(one)
    assert prepared.tracks == tracks_of(domains)
    assert prepared.made_by["source"] == "strings-piano-flute"
    copy = prepared.full_rate()
    assert copy is not None
    assert (copy.sample_rate, copy.channels, copy.domains) == (44_100, 2, prepared.domains)
    for piece, copied in zip(prepared.pieces("train"), copy.pieces("train"), strict=True):
        assert abs(piece.samples / SAMPLE_RATE - copied.samples / 44_100) < 0.001
        assert copied.audio("flute").shape == (copied.samples, 2)
        assert copied.details["gains"] == piece.details["gains"]

    assert render_set(other, options, pieces=2, jobs=1, full_rate=True).kept == 0  # what is missing is made
    assert files_of(one) == files_of(other)
    piece = prepared.pieces("train")[0].name
    (one / "full-rate" / piece / "flute.wav").unlink()
    assert render_set(one, options, pieces=2, jobs=1).kept == 1  # a copy that is there is kept up
    assert files_of(one) == files_of(other)


@pytest.mark.usefixtures("short_scores")
def test_another_way_to_render_makes_other_pieces_of_the_same_name(sound_font: Path, tmp_path: Path):
    plain = SetOptions(0, ALL_FOR_TRAINING, {"train": [sound_font]})
    render_set(tmp_path / "set", plain, pieces=1)
    (name,) = json.loads((tmp_path / "set" / "dataset.json").read_text())["pieces"]
    target = (tmp_path / "set" / name / "vibraphone.wav").read_bytes()
    source = (tmp_path / "set" / name / "piano.wav").read_bytes()
    varied = SetOptions(0, ALL_FOR_TRAINING, {"train": [sound_font]}, source="strings-piano")
    assert render_set(tmp_path / "set", varied, pieces=1).kept == 0
    assert (tmp_path / "set" / name / "vibraphone.wav").read_bytes() == target
    assert (tmp_path / "set" / name / "piano.wav").read_bytes() != source


RENDER_MANY = """
import sys
from pathlib import Path
from musicstar_ext.data import render, scores
from musicstar_ext.data.plan import SetOptions
from musicstar_ext.errors import run_command
output, font, jobs, *names = sys.argv[1:]
render.score_names = lambda: [names]
scores.SHORTEST = 1.0
shares = {"train": 1.0, "validation": 0.0, "test": 0.0}
options = SetOptions(0, shares, {"train": [Path(font)]}, source="strings-piano")
arguments = {"pieces": 120, "jobs": int(jobs), "full_rate": True}
sys.exit(run_command(lambda: print(render.render_set(Path(output), options, **arguments)), "render"))
"""


@pytest.mark.parametrize(
    ("sent", "status", "jobs"),
    [(signal.SIGINT, 130, 2), (signal.SIGKILL, -signal.SIGKILL, 2), (signal.SIGINT, 130, 1)],
)
def test_a_render_that_is_stopped_leaves_whole_pieces_only(
    sound_font: Path, tmp_path: Path, sent: signal.Signals, status: int, jobs: int
):
    pytest.importorskip("music21", reason="scores come with music21")
    names = cache_short_scores(tmp_path / "cache", 3)
    output = tmp_path / "set"
    command = [sys.executable, "-c", RENDER_MANY, str(output), str(sound_font), str(jobs), *names]
    with (tmp_path / "log").open("w") as log:
        environment = {**os.environ, "MUSICSTAR_CACHE": str(tmp_path / "cache")}
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    deadline = time.monotonic() + 60
    while not list(output.glob("0*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, sent)
    assert process.wait(20) == status, (tmp_path / "log").read_text()
    deadline = time.monotonic() + 20
    while group_lives(process.pid) and time.monotonic() < deadline:  # workers notice that their parent has gone
        time.sleep(0.1)
    assert not group_lives(process.pid)

    for folder in (output, output / "full-rate"):
        pieces = [path.name for path in folder.iterdir() if path.name.startswith("0")]
        assert pieces or folder != output
        assert all(read_whole_piece(folder, piece, TRACKS) for piece in pieces)
        if sent is signal.SIGINT:
            assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    with pytest.raises(UserError, match="not finished yet"):
        PreparedSet.open(output)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
