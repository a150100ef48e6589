"""Models of several branches: what is shared, what is summed, and that no branch depends on another."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from branch_models import LEVELS, NETWORKS, ONE_ENCODER_EACH, SHARED_ENCODER, STEMS, checkpoint_of

from musicstar_ext import Translator, UserError
from musicstar_ext.checkpoints import Branch
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.gain import PEAK
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.networks import EncoderNetwork

Tone = Callable[..., np.ndarray]


def translator_of(*branches: Branch) -> Translator:
    return Translator(checkpoint_of(branches), choose_engine("cpu", threads=1))


def joined(blocks: object) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks])  # type: ignore[misc]


@pytest.fixture(scope="module")
def stems(tone: Tone) -> dict[str, np.ndarray]:
    """A loud and a quiet one."""
    return {"strings": tone(1.3, amplitude=0.05), "piano": tone(1.3, amplitude=0.01)[::-1].copy()}


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("branches", [ONE_ENCODER_EACH, SHARED_ENCODER])
def test_branches_are_summed_and_do_not_depend_on_each_other(
    branches: tuple[Branch, ...], lanes: int, tone: Tone
) -> None:
    def played(*chosen: Branch) -> np.ndarray:
        return translator_of(*chosen).translate(tone(1.7), 16_000, seed=3, lanes=lanes, normalize="off")

    first, second = (played(branch) for branch in branches)
    assert not np.array_equal(first, second)
    assert np.array_equal(played(*branches), first + second)
    assert np.array_equal(played(*reversed(branches)), first + second)


def test_branches_of_one_decoder_draw_different_numbers(tone: Tone) -> None:
    twins = [Branch("strings-piano", name, "encoder", "decoder.clarinet") for name in ("clarinet", "vibraphone")]
    first, second = (translator_of(twin).translate(tone(0.5), 16_000) for twin in twins)
    assert not np.array_equal(first, second)


def test_from_mixture_to_mixture_the_seed_is_used_as_it_is() -> None:
    whole = Branch("strings-piano", "clarinet-vibraphone", "encoder", "decoder.clarinet")
    networks = translator_of(whole, *SHARED_ENCODER).networks
    assert networks.branch_seed(whole, 7) == 7
    seeds = {networks.branch_seed(branch, seed) for branch in SHARED_ENCODER for seed in (0, 1, (1 << 64) - 1)}
    assert len(seeds) == 6
    assert all(0 <= seed < 1 << 64 for seed in seeds)


@pytest.mark.parametrize(
    ("branches", "encodings"), [(ONE_ENCODER_EACH, 2), (SHARED_ENCODER, 1), (STEMS, 2), (STEMS[:1], 1)]
)
def test_a_recording_is_encoded_once_by_each_encoder(
    branches: tuple[Branch, ...], encodings: int, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = EncoderNetwork.encoder, []

    def counted(network: EncoderNetwork) -> object:
        made.append(network)
        return make(network)

    monkeypatch.setattr(EncoderNetwork, "encoder", counted)
    translator = translator_of(*branches)
    if translator.stems:
        translator.translate_stems(dict.fromkeys(translator.stems, tone(0.2)), 16_000)
    else:
        translator.translate(tone(0.2), 16_000)
    assert len(made) == encodings


@pytest.mark.parametrize("cuts", [[1, 2, 3], [799, 800, 801], list(range(0, 12_000, 97))])
@pytest.mark.parametrize(("rate", "lanes"), [(16_000, 1), (44_100, 1), (16_000, 3)])
def test_stream_equals_one_shot(tone: Tone, cuts: list[int], rate: int, lanes: int) -> None:
    translator = translator_of(*ONE_ENCODER_EACH)
    samples = tone(2.0)[:30_011]
    whole = translator.translate(samples, rate, seed=3, lanes=lanes, normalize="off")
    streamed = joined(translator.stream(np.split(samples, cuts), rate, seed=3, lanes=lanes))
    assert np.array_equal(streamed, whole)
    assert len(whole) == round(30_011 * 16_000 / rate)


def test_stream_takes_bounded_memory_and_answers_before_the_end(tone: Tone) -> None:
    translator = translator_of(*ONE_ENCODER_EACH)
    chord = tone(0.5)
    taken = 0

    def blocks(count: int) -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield chord

    peaks = []
    for count in (2, 8):
        tracemalloc.start()
        stream = translator.stream(blocks(count), 16_000)
        taken = 0
        assert len(next(stream)) == 160
        assert taken <= 1
        for _ in stream:
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 20_000


def test_stream_with_a_level(tone: Tone) -> None:
    translator = translator_of(*SHARED_ENCODER)
    samples = tone(1.0, amplitude=0.02)
    level = gated_level_dbfs(samples)
    plain = joined(translator.stream([samples * np.float32(10 ** ((-20.0 - level) / 20))], 16_000))
    expected = 10 * np.log10(10**-2.2 + 10**-2.5)  # of the two targets' sum
    found = joined(translator.stream([samples], 16_000, level=level))
    np.testing.assert_allclose(found, np.clip(plain * 10 ** ((level - expected) / 20), -1, 1), atol=1e-6)


def test_the_sum_of_a_mixtures_branches_gets_the_mixtures_level(tone: Tone) -> None:
    translator = translator_of(*ONE_ENCODER_EACH)
    quiet = tone(1.0, amplitude=0.01)
    raw = translator.translate(
        quiet * np.float32(10 ** ((-20 - gated_level_dbfs(quiet)) / 20)), 16_000, normalize="off"
    )
    found = translator.translate(quiet, 16_000)
    assert gated_level_dbfs(found) == pytest.approx(gated_level_dbfs(quiet), abs=0.01)
    np.testing.assert_allclose(found, raw * (np.abs(found).max() / np.abs(raw).max()), atol=1e-6)
    assert np.abs(translator.translate(tone(1.0, amplitude=1.0), 16_000)).max() == pytest.approx(PEAK)


def test_progress_adds_up_to_the_duration(tone: Tone) -> None:
    for lanes in (1, 2):
        told: list[float] = []
        translator_of(*ONE_ENCODER_EACH).translate(tone(1.6), 16_000, lanes=lanes, progress=told.append)
        assert sum(told) == pytest.approx(1.6, rel=1e-3)


@pytest.mark.parametrize("lanes", [1, 2])
def test_stems_keep_their_levels_and_are_summed(stems: dict[str, np.ndarray], lanes: int) -> None:
    translator = translator_of(*STEMS)
    assert translator.stems == ("strings", "piano")
    alone = {}
    for name, samples in stems.items():
        alone[name] = translator.translate_stems({name: samples}, 16_000, seed=5, lanes=lanes)
        assert len(alone[name]) == len(samples)
        assert gated_level_dbfs(alone[name]) == pytest.approx(gated_level_dbfs(samples), abs=0.05)
    both = translator.translate_stems(stems, 16_000, seed=5, lanes=lanes)
    np.testing.assert_allclose(both, alone["strings"] + alone["piano"], atol=1e-6)
    assert np.array_equal(translator.translate_stems(dict(reversed(stems.items())), 16_000, seed=5, lanes=lanes), both)


def test_a_stem_is_heard_at_the_level_that_it_was_trained_at(stems: dict[str, np.ndarray]) -> None:
    translator = translator_of(*STEMS)
    gain = np.float32(10 ** ((LEVELS["piano"] - gated_level_dbfs(stems["piano"])) / 20))
    raw = translator.translate_stems({"piano": stems["piano"] * gain}, 16_000, normalize="off")
    found = translator.translate_stems({"piano": stems["piano"]}, 16_000)
    np.testing.assert_allclose(found, raw * (np.abs(found).max() / np.abs(raw).max()), atol=1e-6)


def test_branches_of_one_stem_share_its_level(stems: dict[str, np.ndarray]) -> None:
    translator = translator_of(*STEMS, Branch("strings", "vibraphone", "encoder.vibraphone", "decoder.vibraphone"))
    found = translator.translate_stems({"strings": stems["strings"]}, 16_000)
    assert gated_level_dbfs(found) == pytest.approx(gated_level_dbfs(stems["strings"]), abs=0.05)


def test_one_limit_for_the_sum_of_loud_stems(tone: Tone) -> None:
    translator = translator_of(*STEMS)
    loud = {"strings": tone(0.5, amplitude=0.9), "piano": tone(0.5, amplitude=0.3)}
    soft = {name: samples / 100 for name, samples in loud.items()}
    limited, free = translator.translate_stems(loud, 16_000), translator.translate_stems(soft, 16_000)
    assert np.abs(limited).max() == pytest.approx(PEAK)
    np.testing.assert_allclose(limited, free * (PEAK / np.abs(free).max()), atol=1e-4)


def test_a_stem_that_ends_early_is_followed_by_silence(stems: dict[str, np.ndarray]) -> None:
    translator = translator_of(*STEMS)
    shorter = {"strings": stems["strings"], "piano": stems["piano"][:5001]}
    both = translator.translate_stems(shorter, 16_000, lanes=1)
    strings = translator.translate_stems({"strings": shorter["strings"]}, 16_000, lanes=1)
    piano = translator.translate_stems({"piano": shorter["piano"]}, 16_000, lanes=1)
    assert len(both) == len(strings)
    np.testing.assert_allclose(both, strings + np.pad(piano, (0, len(strings) - 5001)), atol=1e-6)


def test_a_silent_stem_stays_silent(stems: dict[str, np.ndarray]) -> None:
    translator = translator_of(*STEMS)
    strings = translator.translate_stems({"strings": stems["strings"]}, 16_000, lanes=1)
    silence = np.zeros(len(strings) + 77)
    both = translator.translate_stems({"strings": stems["strings"], "piano": silence}, 16_000, lanes=1)
    assert np.array_equal(both, np.pad(strings, (0, 77)))
    assert not translator.translate_stems({"piano": silence}, 16_000).any()


def test_networks_that_no_branch_names_are_not_touched(tone: Tone) -> None:
    checkpoint = checkpoint_of(SHARED_ENCODER)
    odd = replace(NETWORKS["decoder.strings"], pool=77, classes=16)  # type: ignore[arg-type]
    checkpoint.networks["decoder.strings"] = odd
    assert len(Translator(checkpoint).translate(tone(0.1), 16_000)) == 1600


def test_models_that_hear_stems_do_not_take_recordings_and_the_reverse(tone: Tone) -> None:
    by_stems, by_mixture = translator_of(*STEMS), translator_of(*SHARED_ENCODER)
    for call in (by_stems.translate, lambda samples, rate: by_stems.stream([samples], rate)):
        with pytest.raises(UserError, match=r"translates stems.*--stems strings,piano"):
            call(tone(0.1), 16_000)
    with pytest.raises(UserError, match="a whole recording of strings-piano, not its stems"):
        by_mixture.translate_stems({"strings": tone(0.1)}, 16_000)
    assert by_mixture.stems == ()


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        ({}, "no stem is named; this model's stems are strings, piano"),
        ({"flute": np.zeros(10)}, "no stem 'flute'; its stems are strings, piano"),
        ({"strings": np.zeros(10), "piano": np.array([0, np.nan])}, "stem 'piano': sample 1 is not finite"),
        ({"strings": np.zeros(0)}, "stem 'strings': there are no samples"),
    ],
)
def test_bad_stems(stems: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UserError, match=message):
        translator_of(*STEMS).translate_stems(stems, 16_000)


def test_branches_that_cannot_be_run() -> None:
    for branches, message in [
        ((*SHARED_ENCODER, STEMS[0]), "hear both 'strings-piano' and its stems strings"),
        ((Branch("strings", "clarinet", "encoder", "encoder"),), "are of the types 'encoder' and 'encoder'"),
        ((Branch("strings", "oboe", "encoder", "decoder.clarinet"),), "target level of 'oboe' is None"),
        ((Branch("strings", "clarinet", "encoder", "decoder.oboe"),), "needs the network 'decoder.oboe'"),
    ]:
        with pytest.raises(UserError, match=message):
            translator_of(*branches)
