"""translate and stream: durations, levels, seeds, and that neither threads nor cuts change a sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import musicstar_ext
from musicstar_ext import Translator, UserError
from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.precision import PRECISIONS
from musicstar_ext.runtime.translator import load

Tone = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def translator(tiny_model: Path) -> Translator:
    return load(tiny_model, threads=1)


def joined(blocks: object) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks])  # type: ignore[misc]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_duration_to_the_sample(translator: Translator, tone: Tone, rate: int) -> None:
    for seconds in (0.05, 0.7):
        samples = tone(seconds, rate)
        for lanes in (1, 2):
            out = translator.translate(samples, rate, lanes=lanes)
            assert out.dtype == np.float32
            assert len(out) == round(len(samples) * 16_000 / rate)
            assert np.isfinite(out).all()


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 797])
def test_very_short_recordings(translator: Translator, tone: Tone, samples: int) -> None:
    assert len(translator.translate(tone(1)[:samples], 16_000)) == samples


@pytest.mark.parametrize("cuts", [[1], [1, 2, 3], [799, 800, 801], [4000], list(range(0, 12_000, 97))])
@pytest.mark.parametrize(("rate", "lanes"), [(16_000, 1), (44_100, 1), (16_000, 3)])
def test_stream_equals_one_shot(translator: Translator, tone: Tone, cuts: list[int], rate: int, lanes: int) -> None:
    samples = tone(2.0)[:30_011]
    whole = translator.translate(samples, rate, seed=3, lanes=lanes, normalize="off")
    streamed = joined(translator.stream(np.split(samples, cuts), rate, seed=3, lanes=lanes))
    assert np.array_equal(streamed, whole)


def test_stream_gives_output_before_the_input_ends(translator: Translator, tone: Tone) -> None:
    taken = 0

    def blocks() -> object:
        nonlocal taken
        for block in np.array_split(tone(4.0), 40):
            taken += 1
            yield block

    first = next(translator.stream(blocks(), 16_000))  # type: ignore[arg-type]
    assert len(first) == 160
    assert taken < 4


def test_stream_with_a_level(translator: Translator, tone: Tone) -> None:
    samples = tone(1.0)
    level = gated_level_dbfs(samples)
    loud = joined(translator.stream([samples], 16_000, level=level))
    quiet = joined(translator.stream([samples / 4], 16_000, level=level - 20 * np.log10(4)))
    np.testing.assert_allclose(quiet, loud / 4, atol=1e-6)
    with pytest.raises(UserError, match="level must be a number"):
        translator.stream([samples], 16_000, level=float("-inf"))


def test_empty_stream(translator: Translator) -> None:
    assert list(translator.stream([], 44_100)) == []
    assert list(translator.stream([np.zeros(0)], 44_100, lanes=2)) == []


@pytest.mark.parametrize("lanes", [1, 3])
def test_threads_do_not_change_a_sample(translator: Translator, tiny_model: Path, tone: Tone, lanes: int) -> None:
    samples = tone(2.1)
    one = translator.translate(samples, 16_000, lanes=lanes)
    assert np.array_equal(load(tiny_model, threads=2).translate(samples, 16_000, lanes=lanes), one)
    assert np.array_equal(translator.translate(samples, 16_000, lanes=lanes), one)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_in_every_precision_neither_threads_nor_cuts_change_a_sample(
    tiny_model: Path, tone: Tone, precision: str, lanes: int
) -> None:
    samples = tone(2.1)
    one, two = (load(tiny_model, precision=precision, threads=threads) for threads in (1, 2))
    whole = one.translate(samples, 16_000, lanes=lanes, normalize="off")
    assert np.array_equal(two.translate(samples, 16_000, lanes=lanes, normalize="off"), whole)
    assert np.array_equal(joined(one.stream(np.split(samples, [1, 799, 20_000]), 16_000, lanes=lanes)), whole)


def test_precisions_are_different_roundings(tiny_model: Path, tone: Tone) -> None:
    outputs = [load(tiny_model, precision=precision).translate(tone(2.0), 16_000, lanes=1) for precision in PRECISIONS]
    assert not np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_seed_and_temperature(translator: Translator, tone: Tone) -> None:
    samples = tone(0.5)
    drawn = translator.translate(samples, 16_000, seed=1)
    assert not np.array_equal(translator.translate(samples, 16_000, seed=2), drawn)
    assert not np.array_equal(translator.translate(samples, 16_000, seed=1 << 40), drawn)
    likeliest = [translator.translate(samples, 16_000, seed=seed, temperature=0) for seed in (1, 2)]
    assert np.array_equal(*likeliest)


def test_the_input_matters(translator: Translator, tone: Tone) -> None:
    samples = tone(0.5)
    other = translator.translate(samples[::-1], 16_000, normalize="off")
    assert not np.array_equal(translator.translate(samples, 16_000, normalize="off"), other)


def test_stereo_and_integers_are_the_same_recording(translator: Translator, tone: Tone) -> None:
    samples = np.round(tone(0.5) * 2**15) / 2**15
    expected = translator.translate(samples, 44_100)
    for same in (np.stack([samples, samples], axis=1), (samples * 2**15).astype(np.int16), samples.astype(np.float64)):
        assert np.array_equal(translator.translate(same, 44_100), expected)


@pytest.mark.parametrize("amplitude", [0.02, 0.1, 0.4])
def test_level_out_equals_level_in(translator: Translator, tone: Tone, amplitude: float) -> None:
    samples = tone(1.0, amplitude=amplitude)
    out = translator.translate(samples, 16_000)
    assert np.abs(out).max() <= 1
    if np.abs(out).max() < 0.998:
        assert gated_level_dbfs(out) == pytest.approx(gated_level_dbfs(samples), abs=0.5)


def test_normalized_input_makes_loudness_irrelevant(translator: Translator, tone: Tone) -> None:
    samples = tone(0.5)
    loud = translator.translate(samples, 16_000)
    np.testing.assert_allclose(translator.translate(samples / 8, 16_000) * 8, loud, atol=1e-5)


@pytest.mark.parametrize("amplitude", [0.0, 1e-5])
def test_silence_stays_silent(translator: Translator, tone: Tone, amplitude: float) -> None:
    out = translator.translate(tone(0.31, amplitude=amplitude), 16_000)
    assert len(out) == 4960
    assert not out.any()


def test_progress_adds_up_to_the_duration(translator: Translator, tone: Tone) -> None:
    for lanes in (1, 2):
        told: list[float] = []
        translator.translate(tone(1.6), 16_000, lanes=lanes, progress=told.append)
        assert sum(told) == pytest.approx(1.6, rel=1e-3)
        assert len(told) > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": np.zeros(0)}, "no samples"),
        ({"samples": np.array([0.0, np.nan])}, "sample 1 is not finite"),
        ({"sample_rate": 0}, "sample rate"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1 << 64}, "seed must be"),
        ({"seed": 0.5}, "seed must be"),
        ({"temperature": -0.1}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": float("inf")}, "temperature must be"),
        ({"temperature": "hot"}, "temperature must be"),
        ({"lanes": 0}, "lanes must be"),
        ({"normalize": "loud"}, "normalize must be"),
    ],
)
def test_bad_arguments(translator: Translator, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        translator.translate(**{"samples": np.zeros(100), "sample_rate": 16_000, **changes})


def test_stream_checks_arguments_at_once_and_samples_as_they_come(translator: Translator) -> None:
    with pytest.raises(UserError, match="seed must be"):
        translator.stream([], 16_000, seed=-1)
    blocks = translator.stream([np.zeros(1000), np.array([0, np.inf])], 16_000)
    with pytest.raises(UserError, match="sample 1001 is not finite"):
        joined(blocks)


def edited(checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    return replace(checkpoint, **changes)  # type: ignore[arg-type]


def test_checkpoints_that_this_version_cannot_translate_with(tiny_checkpoint: Checkpoint) -> None:
    networks = tiny_checkpoint.networks
    cases = [
        (edited(tiny_checkpoint, networks={"encoder": networks["encoder"]}), "needs the network 'decoder'"),
        (edited(tiny_checkpoint, branches=()), "translates nothing"),
        (edited(tiny_checkpoint, branches=tiny_checkpoint.branches * 2), "two branches translate"),
        (edited(tiny_checkpoint, domains={"source": "strings-piano"}), "which it plays"),
        (edited(tiny_checkpoint, networks={"encoder": networks["decoder"], "decoder": networks["encoder"]}), "types"),
        (edited(tiny_checkpoint, networks={**networks, "encoder": EncoderConfig(code_channels=5)}), "5 channels"),
        (edited(tiny_checkpoint, networks={**networks, "encoder": EncoderConfig(code_channels=4)}), "800 samples"),
        (
            edited(tiny_checkpoint, networks={**networks, "decoder": replace(networks["decoder"], classes=16)}),
            "classes",
        ),
        (edited(tiny_checkpoint, sample_rate=44_100), "44100 Hz"),
        (edited(tiny_checkpoint, levels={"strings-piano": -20.0}), "target level of"),
        (
            edited(tiny_checkpoint, levels={"strings-piano": float("nan"), "clarinet-vibraphone": -20.0}),
            "source level of",
        ),
    ]
    for checkpoint, message in cases:
        with pytest.raises(UserError, match=message):
            Translator(checkpoint)


def test_the_package_offers_what_the_readme_shows() -> None:
    assert musicstar_ext.load is load
    assert set(musicstar_ext.__all__) <= set(dir(musicstar_ext))
    assert inspect.signature(load).parameters.keys() >= {"device", "precision", "threads"}
    with pytest.raises(AttributeError):
        musicstar_ext.nothing  # noqa: B018
