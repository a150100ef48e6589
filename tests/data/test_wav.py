from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext.data.wav import find_samples, write_wav
from musicstar_ext.errors import UserError

SAMPLES = np.array([0, 1, -1, 32767, -32768, 7, 8], np.int16)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_is_written_is_read_by_us_and_by_soundfile(tmp_path: Path, count: int):
    path = tmp_path / "a.wav"
    write_wav(path, SAMPLES[:count], 16_000)
    found = find_samples(path)
    assert (found.count, found.sample_rate) == (count, 16_000)
    np.testing.assert_array_equal(found.memory_map(), SAMPLES[:count])
    read, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(read, SAMPLES[:count])


def test_the_map_is_read_only(tmp_path: Path):
    write_wav(tmp_path / "a.wav", SAMPLES, 16_000)
    with pytest.raises(ValueError, match="read-only"):
        find_samples(tmp_path / "a.wav").memory_map()[0] = 1


def test_other_chunks_before_the_samples_are_stepped_over(tmp_path: Path):
    path = tmp_path / "a.wav"
    write_wav(path, SAMPLES, 16_000)
    data = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"hello" + b"\0"  # an odd length is padded
    path.write_bytes(data[:12] + odd + data[12:36] + odd + data[36:])
    np.testing.assert_array_equal(find_samples(path).memory_map(), SAMPLES)


def test_the_extensible_layout_of_other_programs_is_read(tmp_path: Path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SAMPLES, 16_000, subtype="PCM_16", format="WAVEX")
    np.testing.assert_array_equal(find_samples(path).memory_map(), SAMPLES)


@pytest.mark.parametrize(
    ("subtype", "channels", "problem"),
    [
        ("PCM_16", 3, "not 16-bit with 3"),
        ("PCM_24", 1, "not 24-bit"),
        ("FLOAT", 1, "not format 0x3"),
        ("ULAW", 1, "0x7"),
    ],
)
def test_another_kind_of_wav_is_named(tmp_path: Path, subtype: str, channels: int, problem: str):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((10, channels)), 16_000, subtype=subtype)
    with pytest.raises(UserError, match=problem):
        find_samples(path)


def test_every_truncation_is_noticed(tmp_path: Path):
    write_wav(tmp_path / "whole.wav", SAMPLES, 16_000)
    data = (tmp_path / "whole.wav").read_bytes()
    path = tmp_path / "cut.wav"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"cut\.wav: (not a WAV|truncated|a damaged)"):
            find_samples(path)


def test_no_file_and_no_wav_are_user_errors(tmp_path: Path):
    with pytest.raises(UserError, match="No such file"):
        find_samples(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("I am no music at all")
    with pytest.raises(UserError, match="not a WAV file"):
        find_samples(tmp_path / "text.wav")
