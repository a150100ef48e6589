from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from data.recordings import FILES, RATE, SILENT, piece_files

from musicstar_ext.data.prepare_piece import (
    BadPieceError,
    PieceOptions,
    Source,
    complement,
    prepare_piece,
    quietest,
    silent_spans,
    within,
)
from musicstar_ext.errors import UserError


def spans_one_by_one(silent: np.ndarray, least: int) -> list[tuple[int, int]]:
    """The same, sample by sample."""
    spans, start = [], None
    for position, quiet in enumerate([*silent.tolist(), False]):
        if quiet and start is None:
            start = position
        if not quiet and start is not None:
            if position - start >= least:
                spans.append((start, position))
            start = None
    return spans


@pytest.mark.parametrize("seed", range(20))
def test_silence_is_found_however_the_samples_come(seed: int):
    random = np.random.default_rng(seed)
    loud = np.repeat(random.random(30) < 0.5, random.integers(1, 9, 30))
    audio = np.where(loud, 0.5, 0.001).astype(np.float32)
    channels = np.stack([audio, np.zeros_like(audio)], axis=1)  # a silent channel makes no silence
    blocks = np.split(channels, sorted(random.integers(1, len(audio), 7)))
    found = list(silent_spans([block for block in blocks if len(block)], 0.01, 4))
    assert found == spans_one_by_one(~loud, 4)


def test_what_is_just_as_loud_as_the_limit_is_no_silence():
    audio = np.full((10, 1), 0.25, np.float32)
    assert list(silent_spans([audio], 0.25, 3)) == []
    assert list(silent_spans([-audio], 0.26, 3)) == [(0, 10)]
    assert list(silent_spans([audio], 0.26, 11)) == []


def test_spans():
    assert within([(0, 5), (8, 20)], 10, 2) == [(0, 5), (8, 10)]
    assert within([(0, 5), (9, 20)], 10, 2) == [(0, 5)]
    assert complement([(0, 5), (8, 10)], 10) == [(5, 8)]
    assert complement([], 4) == [(0, 4)]
    assert complement([(0, 4)], 4) == []
    assert quietest({"a": [(0, 3)], "b": [(0, 2), (5, 7)], "c": []}) == [(0, 2), (5, 7)]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Source]:
    """Piece 1 of the collection, {track: source}."""
    found = {}
    for code, audio in piece_files(1).items():
        path = tmp_path / f"001.{code}.wav"
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        found[FILES[code]] = Source(path, f"archive: {path.name}", path.name, path.stat().st_size)
    return found


def test_a_piece_is_what_the_published_steps_make_of_it(sources: dict[str, Source], tmp_path: Path):
    """Trim, cut, mix down and resample, each written out."""
    output = tmp_path / "set"
    (output / "full-rate").mkdir(parents=True)
    made = prepare_piece("001", sources, PieceOptions(), output, full_rate=True)
    audio = {track: soundfile.read(source.path, dtype="int16")[0] for track, source in sources.items()}
    shortest = min(map(len, audio.values()))
    first, last = round(SILENT[0] * RATE), round(SILENT[1] * RATE)
    piano = np.abs(audio["piano"][:shortest]).max(axis=1) < 327.68
    while piano[first - 1]:  # a note has died away before
        first -= 1
    while piano[last]:
        last += 1
    assert last - first > 1.2 * RATE
    for track, samples in audio.items():
        cut = np.concatenate([samples[:first], samples[last:shortest]])
        full, rate = soundfile.read(output / "full-rate" / "001" / f"{track}.wav", dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(full, cut)
        mono = soxr.resample(cut.astype(np.float64).mean(axis=1), RATE, 16_000)
        found, rate = soundfile.read(output / "001" / f"{track}.wav", dtype="int16")
        assert (rate, len(found)) == (16_000, round(len(cut) * 16_000 / RATE))
        assert np.abs(found - mono[: len(found)]).max() <= 1.5
    assert made.entry["cut_seconds"] == round((last - first) / RATE, 3)
    assert made.entry["trimmed_seconds"] == round(35 / RATE, 3)
    assert made.full_rate is not None
    assert made.full_rate["samples"] == shortest - (last - first)
    assert made.remarks == []


def test_without_cutting_only_the_ends_go(sources: dict[str, Source], tmp_path: Path):
    made = prepare_piece("001", sources, PieceOptions(silence=None), tmp_path, full_rate=False)
    shortest = min(soundfile.info(source.path).frames for source in sources.values())
    assert made.entry["samples"] == round(shortest * 16_000 / RATE)
    assert made.full_rate is None


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE"])
def test_other_depths_channels_and_rates_are_read(tmp_path: Path, subtype: str):
    sources = {}
    for channels, track in enumerate(("a", "b", "c"), start=1):
        path = tmp_path / f"{track}.wav"
        soundfile.write(path, np.tile(np.sin(np.arange(9600) / 20)[:, None] / 2, channels), 48_000, subtype=subtype)
        sources[track] = Source(path, path.name, path.name, 1)
    entry = prepare_piece("x", sources, PieceOptions(), tmp_path, full_rate=False).entry
    assert entry["samples"] == 3200
    assert max(entry["levels"].values()) - min(entry["levels"].values()) < 0.01


def test_what_is_wrong_with_a_piece_is_named_as_the_user_knows_it(sources: dict[str, Source], tmp_path: Path):
    def problem(kind: type[UserError] = BadPieceError) -> str:
        with pytest.raises(kind) as caught:
            prepare_piece("001", sources, PieceOptions(), tmp_path / "set", full_rate=kind is UserError)
        assert not list((tmp_path / "set").glob("*"))
        return str(caught.value)

    (tmp_path / "set").mkdir()
    path = sources["strings"].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert problem().startswith("archive: 001.4.wav: truncated")
    path.write_bytes(b"no music")
    assert problem().startswith("archive: 001.4.wav: not an audio file")
    soundfile.write(path, np.full((RATE, 1), np.nan), RATE, subtype="FLOAT")
    assert problem() == "archive: 001.4.wav: sample 0 is not finite (nan)"
    soundfile.write(path, np.zeros((3 * RATE, 1)), RATE)
    assert "nothing is left: archive: 001.4.wav is silent" in problem()
    soundfile.write(path, np.ones((RATE, 1)), 48_000)
    assert "different sample rates" in problem()
    for source in sources.values():
        soundfile.write(source.path, np.ones((RATE, 1)), 16_000)
    assert "has 16000 Hz, below the 44100 Hz of a full-rate copy" in problem(UserError)


def test_long_differences_and_clipping_are_remarked(sources: dict[str, Source], tmp_path: Path):
    soundfile.write(sources["strings"].path, 1.5 * np.ones((RATE, 1)), RATE, subtype="FLOAT")
    made = prepare_piece("001", sources, PieceOptions(silence=None), tmp_path, full_rate=False)
    assert "differ in length by 1 s" in made.remarks[0]
    assert "clipped: {'strings': 1" in made.remarks[1]
