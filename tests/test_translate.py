"""The translate command on good input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext.runtime import load
from musicstar_ext.runtime.audio_reading import open_audio
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.files import translate_file
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.precision import AUTO, PRECISIONS
from musicstar_ext.runtime.spectrogram_plot import spectrogram
from musicstar_ext.translate import main

Tone = Callable[..., np.ndarray]
WriteWav = Callable[..., Path]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = write_wav("in.wav", np.stack([tone(0.7, 44_100)] * 2, axis=1), 44_100)
    target = tmp_path / "out.wav"
    assert main([str(source), "-o", str(target), "--model", str(tiny_model), "--lanes", "1", "--seed", "4"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{target}: 0.70 s in ")
    assert len(captured.out.splitlines()) == 1
    assert captured.err == ""
    info = soundfile.info(target)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", 11_200)
    assert names_in(tmp_path) == ["in.wav", "out.wav"]

    out, _ = soundfile.read(target, dtype="float32")
    samples, rate = soundfile.read(source, dtype="int16")
    twin = load(tiny_model).translate(samples, rate, seed=4, lanes=1)
    np.testing.assert_allclose(out, twin, atol=2 / 2**15)
    assert gated_level_dbfs(out) == pytest.approx(gated_level_dbfs(tone(0.7, 44_100)), abs=0.5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_json_names_the_precision_that_ran(
    precision: str, tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [str(write_wav("in.wav", tone(0.3))), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)]
    assert main([*arguments, "--precision", precision, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == precision


@pytest.mark.parametrize(("suffix", "file_format"), [(".wav", "WAV"), (".FLAC", "FLAC"), (".ogg", "OGG")])
def test_output_formats(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, suffix: str, file_format: str
) -> None:
    target = tmp_path / f"out{suffix}"
    assert main([str(write_wav("in.wav", tone(0.3))), "-o", str(target), "--model", str(tiny_model)]) == 0
    info = soundfile.info(target)
    assert (info.format, info.frames, info.samplerate) == (file_format, 4800, 16_000)


def test_folders_patterns_and_json(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "takes").mkdir()
    for name, seconds in (("takes/b.wav", 2.5), ("takes/a.WAV", 0.5), ("x1.wav", 0.3), ("x2.wav", 0.4)):
        write_wav(name, tone(seconds))
    (tmp_path / "takes" / "notes.txt").write_text("not audio")
    (tmp_path / "takes" / ".hidden.wav").write_text("not audio")
    out = tmp_path / "deep" / "out"
    arguments = [str(tmp_path / "takes"), str(tmp_path / "x?.wav"), "-o", str(out), "--model", str(tiny_model)]
    assert main([*arguments, "--json", "--threads", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert names_in(out) == ["a.wav", "b.wav", "x1.wav", "x2.wav"]
    found = json.loads(captured.out)
    assert found["audio_seconds"] == pytest.approx(3.7)
    assert found["wall_seconds"] > 0
    assert found["real_time_factor"] == pytest.approx(3.7 / found["wall_seconds"])
    assert found["samples_per_second"] == pytest.approx(16_000 * found["real_time_factor"])
    assert (found["device"], found["threads"], found["model"]) == ("cpu", 1, "tiny")
    assert found["instruction_set"] == core.active_isa()
    assert found["precision"] == AUTO[found["instruction_set"]]
    assert [Path(file["input"]).name for file in found["files"]] == ["a.WAV", "b.wav", "x1.wav", "x2.wav"]
    assert [file["lanes"] for file in found["files"]] == [1, 2, 1, 1]
    assert found["lanes"] == 2
    assert found["failures"] == []


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path
) -> None:
    source = write_wav("take [1].wav", tone(0.1))
    assert main([str(source), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)]) == 0


def test_an_output_that_ends_in_a_slash_is_a_folder(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path
) -> None:
    source = write_wav("in.flac", tone(0.1))
    assert main([str(source), "-o", f"{tmp_path}/out/", "--model", str(tiny_model)]) == 0
    assert names_in(tmp_path / "out") == ["in.wav"]


def test_an_existing_output_is_replaced(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    source, target = write_wav("in.wav", tone(0.1)), write_wav("out.wav", tone(0.5))
    assert main([str(source), "-o", str(target), "--model", str(tiny_model)]) == 0
    assert soundfile.info(target).frames == 1600


def test_silence_in_silence_out(tiny_model: Path, write_wav: WriteWav, tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    assert main([str(write_wav("in.wav", np.zeros(8000))), "-o", str(target), "--model", str(tiny_model)]) == 0
    out, _ = soundfile.read(target)
    assert len(out) == 8000
    assert not out.any()


def test_a_bad_file_does_not_stop_the_others(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    damaged = tone(0.2)
    damaged[1234] = np.nan
    sources = [
        write_wav("a.wav", tone(0.2)),
        write_wav("b.wav", damaged, subtype="FLOAT"),
        write_wav("c.wav", tone(0.2)),
    ]
    out = tmp_path / "out"
    assert main([*map(str, sources), "-o", str(out), "--model", str(tiny_model), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"musicstar_ext.translate: error: {sources[1]}: sample 1234 is not finite (nan)\n"
    assert names_in(out) == ["a.wav", "c.wav"]
    found = json.loads(captured.out)
    assert len(found["files"]) == 2
    assert len(found["failures"]) == 1


def test_plot(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "both.png"
    arguments = [str(write_wav("in.wav", tone(0.5))), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)]
    assert main([*arguments, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert names_in(tmp_path) == ["both.png", "in.wav", "out.wav"]


def test_spectrogram_shows_the_tone(write_wav: WriteWav) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    decibels, seconds = spectrogram(write_wav("a.wav", tone, 44_100))
    assert seconds == 1
    assert decibels.max() == 0
    loudest = 55 * (8000 / 55) ** (decibels[:, decibels.shape[1] // 2].argmax() / 319)
    assert loudest == pytest.approx(440, rel=0.02)


@pytest.mark.parametrize("lanes", [1, 2])
def test_memory_does_not_grow_with_the_file(
    tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, lanes: int
) -> None:
    translator = load(tiny_model, threads=1)
    peaks = []
    for repeats in (5, 16):
        source = open_audio(write_wav(f"{repeats}.wav", np.tile(tone(5.0), repeats)))
        tracemalloc.start()
        translate_file(translator, source, tmp_path / "out.wav", lanes=lanes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "musicstar_ext.translate", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_as_a_process(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    source = write_wav("in.wav", tone(0.2))
    process = start([str(source), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)])
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "x real time" in out
    missing = start([str(tmp_path / "none.wav"), "-o", str(tmp_path / "out2.wav"), "--model", str(tiny_model)])
    out, err = missing.communicate(timeout=60)
    assert (missing.returncode, out) == (2, "")
    assert err == f"musicstar_ext.translate: error: {tmp_path / 'none.wav'}: no such file\n"


def test_translating_never_imports_torch(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    arguments = [str(write_wav("in.wav", tone(0.1))), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)]
    program = "import sys; from musicstar_ext.translate import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds the running translation through /proc")
def test_ctrl_c_leaves_nothing_behind(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    source = write_wav("in.wav", np.tile(tone(10.0), 60))
    process = start([str(source), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model), "--lanes", "1"])
    descriptors = Path(f"/proc/{process.pid}/fd")
    deadline = time.monotonic() + 30

    def is_translating() -> bool:  # it has an unnamed file beside the output
        links = []
        for descriptor in descriptors.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it may have been closed since
                links.append(os.readlink(descriptor))
        return any(link.startswith(str(tmp_path)) and link.endswith("(deleted)") for link in links)

    while not is_translating():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "musicstar_ext.translate: interrupted\n"
    assert time.monotonic() - asked < 5  # a second, and room for a busy machine
    assert names_in(tmp_path) == ["in.wav"]
