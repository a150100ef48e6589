"""Models with a separator: torch comes only where one is needed, and the stems keep the levels they come out with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from branch_models import SHARED_ENCODER, STEMS, checkpoint_of
from random_networks import random_weights

from musicstar_ext import Translator, UserError, checkpoints
from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.runtime.audio_reading import open_audio
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.files import translate_file
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.separating import StemSeparator

Tone = Callable[..., np.ndarray]

SEPARATOR = SeparatorConfig(
    channels=4, depth=2, lstm_layers=1, sources=("strings", "piano"), audio_channels=2, sample_rate=22_050
)


@dataclass
class PretendSeparator:
    """Gives 0.75 of the left channel as strings and 0.25 of the right one as piano, in blocks of its own size."""

    sample_rate: int = 22_050
    channels: int = 2
    stems: tuple[str, ...] = ("strings", "piano")

    def separate(self, blocks: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        heard = np.concatenate([np.zeros((0, 2), np.float32), *blocks])
        assert heard.dtype == np.float32
        for start in range(0, len(heard), 3_001):
            left, right = heard[start : start + 3_001].T
            yield {"strings": np.float32(0.75) * left, "piano": np.float32(0.25) * right}


def checkpoint_with_separator() -> Checkpoint:
    checkpoint = checkpoint_of(STEMS, "separation-based")
    checkpoint.networks["separator"] = SEPARATOR
    checkpoint.weights = {**checkpoint.weights, "separator": random_weights(SEPARATOR)}  # type: ignore[arg-type]
    return checkpoint


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> Translator:
    separation = type(sys)("musicstar_ext.separation")
    separation.load_separator = lambda checkpoint, device, threads: PretendSeparator()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "musicstar_ext.separation", separation)
    return Translator(checkpoint_with_separator(), choose_engine("cpu", threads=1))


def joined(blocks: object) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks])  # type: ignore[misc]


def test_a_mixture_is_translated_as_the_stems_that_come_out_of_it(translator: Translator, tone: Tone) -> None:
    mixture = np.stack([tone(1.0, 22_050), tone(1.0, 22_050)[::-1]], axis=1)
    found = translator.translate(mixture, 22_050, seed=2, lanes=1)
    stems = {"strings": 0.75 * mixture[:, 0], "piano": 0.25 * mixture[:, 1]}
    expected = translator.translate_stems(stems, 22_050, seed=2, lanes=1)
    assert len(found) == 16_000
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("rate", "samples"), [(16_000, 9_001), (44_100, 20_011), (22_050, 5_003), (48_000, 2)])
def test_duration_to_the_sample_and_channels(translator: Translator, tone: Tone, rate: int, samples: int) -> None:
    mixture = tone(1.0, rate)[:samples]
    found = translator.translate(mixture, rate)
    assert len(found) == round(samples * 16_000 / rate)
    assert np.array_equal(translator.translate(np.stack([mixture, mixture], axis=1), rate), found)
    np.testing.assert_allclose(translator.translate(np.stack([mixture] * 3, axis=1), rate), found, atol=1e-6)


def test_loudness_is_irrelevant_and_kept(translator: Translator, tone: Tone) -> None:
    loud = translator.translate(tone(0.5), 16_000)
    np.testing.assert_allclose(translator.translate(tone(0.5) / 8, 16_000) * 8, loud, atol=1e-5)
    assert not translator.translate(np.zeros(5000), 16_000).any()
    powers = gated_level_dbfs(tone(0.5)) + 10 * np.log10(0.75**2 + 0.25**2)
    assert gated_level_dbfs(loud) == pytest.approx(powers, abs=1)


def test_stream_equals_one_shot(translator: Translator, tone: Tone) -> None:
    mixture = np.stack([tone(0.6, 44_100), tone(0.6, 44_100)[::-1]], axis=1)
    whole = translator.translate(mixture, 44_100, lanes=1, normalize="off")
    streamed = joined(translator.stream(np.split(mixture, [1, 5_000, 20_000]), 44_100))
    assert np.array_equal(streamed, whole)
    level = gated_level_dbfs(mixture.mean(axis=1))
    assert len(joined(translator.stream([mixture], 44_100, level=level))) == len(whole)


def test_files_are_translated_as_samples_are(translator: Translator, tone: Tone, tmp_path: Path) -> None:
    mixture = np.stack([tone(1.1, 44_100), tone(1.1, 44_100)[::-1]], axis=1)
    soundfile.write(tmp_path / "in.wav", mixture, 44_100, subtype="FLOAT")
    told: list[float] = []
    source = open_audio(tmp_path / "in.wav")
    report = translate_file(translator, source, tmp_path / "out.wav", lanes=2, progress=told.append)
    found, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_allclose(found, translator.translate(mixture, 44_100, lanes=2), atol=2 / 2**15)
    assert report.seconds == pytest.approx(1.1)
    assert sum(told) == pytest.approx(1.1, rel=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.wav"]
    told.clear()
    translator.translate(mixture, 44_100, lanes=2, progress=told.append)
    assert sum(told) == pytest.approx(1.1, rel=1e-3)


def test_stems_bypass_the_separator(tone: Tone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "musicstar_ext.separation", None)  # importing it fails
    translator = Translator(checkpoint_with_separator(), choose_engine("cpu", threads=1))
    stems = {"strings": tone(0.2), "piano": tone(0.2)}
    without = Translator(checkpoint_of(STEMS), choose_engine("cpu", threads=1))
    assert np.array_equal(translator.translate_stems(stems, 16_000), without.translate_stems(stems, 16_000))
    for call in (translator.translate, lambda samples, rate: translator.stream([samples], rate)):
        with pytest.raises(UserError, match=r"pip install 'musicstar-ext\[separation\]'"):
            call(tone(0.2), 16_000)


def test_separators_that_do_not_fit(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend = PretendSeparator(stems=("strings", "drums"))
    separation = sys.modules["musicstar_ext.separation"]
    monkeypatch.setattr(separation, "load_separator", lambda checkpoint, device, threads: pretend)
    with pytest.raises(UserError, match="hear 'piano', its separator gives strings, drums"):
        StemSeparator(translator.checkpoint, ("strings", "piano"), translator.engine)
    mixture_in = checkpoint_with_separator()
    mixture_in.branches = SHARED_ENCODER
    with pytest.raises(UserError, match="has a separator, but its branches hear 'strings-piano' itself"):
        Translator(mixture_in)
    unlevelled = checkpoint_with_separator()
    unlevelled.levels = {track: level for track, level in unlevelled.levels.items() if track != "strings-piano"}
    with pytest.raises(UserError, match="source level of 'strings-piano' is None"):
        Translator(unlevelled)


def test_a_real_separator_streams_as_it_translates(tone: Tone) -> None:
    pytest.importorskip("demucs")
    pytest.importorskip("torch")
    translator = Translator(checkpoint_with_separator(), choose_engine("cpu", threads=1))
    mixture = np.stack([tone(0.4, 44_100), tone(0.4, 44_100)[::-1]], axis=1)
    whole = translator.translate(mixture, 44_100, lanes=1, normalize="off")
    assert len(whole) == 6_400
    streamed = joined(translator.stream(np.split(mixture, [7, 9_000]), 44_100))
    np.testing.assert_array_equal(streamed, whole)


def test_torch_is_imported_for_a_separator_and_only_for_one(tone: Tone, tmp_path: Path) -> None:
    pytest.importorskip("demucs")
    model, source = tmp_path / "model.safetensors", tmp_path / "in.wav"
    checkpoints.save(checkpoint_with_separator(), model)
    soundfile.write(source, tone(0.1), 16_000)
    program = "import sys; from musicstar_ext.translate import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    for stems, expected in ((["--stems", "piano"], "0 False"), ([], "0 True")):
        arguments = [str(source), *stems, "-o", str(tmp_path / "out.wav"), "--model", str(model)]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
        assert done.stdout.splitlines()[-1] == expected, done.stderr
