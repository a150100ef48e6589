"""Playing and mixing for real; skips, saying so, without fluidsynth or a sound font."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from musicstar_ext.data.instruments import DEFAULT_DOMAINS, Domains, make_domains, parse_domain
from musicstar_ext.data.mixing import SAMPLE_RATE, Mix, mix_piece
from musicstar_ext.data.plan import PiecePlan
from musicstar_ext.data.scores import Note, Score
from musicstar_ext.data.synthesis import SYNTHESIS_RATE, TAIL, SoundFont
from musicstar_ext.data.variety import plain_performances, varied_performances
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.level import gated_level_dbfs

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]
TRACKS = ["strings", "piano", "strings-piano", "clarinet", "vibraphone", "clarinet-vibraphone"]
SOURCE, TARGET = "strings-piano", "clarinet-vibraphone"
FONT_OF = Callable[[Path], SoundFont]


def scale(offset: int) -> tuple[Note, ...]:
    return tuple(Note(0.5 * i + 0.5, 0.45, pitch + offset, 90) for i, pitch in enumerate(SCALE))


def plan_of(score: Score, sound_font: Path, domains: Domains = DEFAULT_DOMAINS) -> PiecePlan:
    performances = {domain: plain_performances(players, sound_font) for domain, players in domains.items()}
    balances = (0.0, *(2.0 for _ in score.stems[1:]))
    attenuation = dict.fromkeys(domains, 0.0)
    return PiecePlan("0001-scale", "train", "scale", "Scale", "", 0, 0, score, performances, balances, attenuation)


def varied(plan: PiecePlan, sound_font: Path, seed: int) -> PiecePlan:
    """The same piece with the source in a way of its own."""
    performances = varied_performances(DEFAULT_DOMAINS[SOURCE], plan.score.stems, [sound_font], random.Random(seed))
    return replace(
        plan,
        performances={**plan.performances, SOURCE: performances},
        attenuation={SOURCE: -7.0, TARGET: 0.0},
    )


@pytest.fixture(scope="module")
def font_of(sound_font: Path) -> Iterator[FONT_OF]:
    load = cache(SoundFont)
    yield load
    load(sound_font).close()


@pytest.fixture(scope="module")
def font(sound_font: Path, font_of: FONT_OF) -> SoundFont:
    return font_of(sound_font)


@pytest.fixture(scope="module")
def plan(sound_font: Path) -> PiecePlan:
    """A scale for the first instrument, a fourth below it for the second; it begins after half a second."""
    return plan_of(Score(((scale(0),), (scale(-5),)), 0, 120.0, 0), sound_font)


@pytest.fixture(scope="module")
def plain_mix(plan: PiecePlan, font_of: FONT_OF) -> Mix:
    return mix_piece(plan, font_of, full_rate=True)


@pytest.fixture(scope="module")
def varied_plan(plan: PiecePlan, sound_font: Path) -> PiecePlan:
    made = varied(plan, sound_font, 3)
    performances = made.performances[SOURCE].values()
    assert all(p.room and p.noise and p.cents and p.tilt for p in performances)
    return made


@pytest.fixture(scope="module")
def varied_mix(varied_plan: PiecePlan, font_of: FONT_OF) -> Mix:
    return mix_piece(varied_plan, font_of, full_rate=True)


def test_a_piece_is_rendered_the_same_every_time(
    varied_plan: PiecePlan, varied_mix: Mix, font: SoundFont, font_of: FONT_OF
):
    font.play((scale(3),), 0, 4.0)  # what was played before leaves no trace
    again = mix_piece(varied_plan, font_of)
    assert (again.notes, again.gains) == (varied_mix.notes, varied_mix.gains)
    assert not again.full_rate
    for track in TRACKS:
        np.testing.assert_array_equal(again.tracks[track], varied_mix.tracks[track])


@pytest.mark.parametrize("which", ["plain_mix", "varied_mix"])
def test_tracks_are_aligned_and_a_mixture_is_the_sum_of_its_stems(
    plan: PiecePlan, which: str, request: pytest.FixtureRequest
):
    mix: Mix = request.getfixturevalue(which)
    for tracks, rate in ((mix.tracks, SAMPLE_RATE), (mix.full_rate, SYNTHESIS_RATE)):
        assert list(tracks) == TRACKS
        (length,) = {len(audio) for audio in tracks.values()}
        assert abs(length / rate - (plan.score.seconds + TAIL)) < 0.002
        for domain, players in DEFAULT_DOMAINS.items():
            total = sum(tracks[player.stem].astype(int) for player in players)
            np.testing.assert_array_equal(total, tracks[domain])
    assert mix.full_rate["piano"].shape[1] == 2


def test_levels_are_as_planned(plain_mix: Mix, varied_mix: Mix):
    for mix, attenuation in ((plain_mix, 0.0), (varied_mix, -7.0)):
        for (first, second, domain), lower in ((TRACKS[:3], attenuation), (TRACKS[3:], 0.0)):
            levels = [gated_level_dbfs(mix.tracks[stem] / np.float32(32768)) for stem in (first, second)]
            assert levels[1] - levels[0] == pytest.approx(2.0, abs=0.3)
            both = (mix.tracks, mix.full_rate)
            peak = max(np.abs(tracks[track].astype(int)).max() for tracks in both for track in (first, second, domain))
            assert 20 * np.log10(peak / 32768) == pytest.approx(-3 + lower, abs=0.2)


def test_the_16_khz_track_is_the_mean_of_both_full_rate_channels(varied_mix: Mix):
    for track in TRACKS:
        mono = soxr.resample(varied_mix.full_rate[track].mean(axis=1), SYNTHESIS_RATE, SAMPLE_RATE, quality="HQ")
        assert np.abs(mono - varied_mix.tracks[track]).max() < 3
        left, right = varied_mix.full_rate[track].T.astype(float)
        assert np.abs(left - right).max() > 100


def test_the_target_does_not_hear_of_the_sources_variety(plain_mix: Mix, varied_mix: Mix):
    for track in TRACKS[3:]:
        np.testing.assert_array_equal(plain_mix.tracks[track], varied_mix.tracks[track])
        np.testing.assert_array_equal(plain_mix.full_rate[track], varied_mix.full_rate[track])
    assert plain_mix.notes["clarinet"] == varied_mix.notes["clarinet"]
    for track in TRACKS[:3]:
        assert np.abs(plain_mix.tracks[track].astype(int) - varied_mix.tracks[track]).max() > 1000


def attack_of(audio: NDArray[np.floating], start: float, rate: int) -> float:
    """Seconds from `start` to the first sample that is near the largest of 70 ms."""
    around = np.abs(audio[round((start - 0.02) * rate) : round((start + 0.05) * rate)])
    return int(np.argmax(around > 0.3 * around.max())) / rate - 0.02


def test_notes_begin_when_the_score_says(font: SoundFont):
    """Struck instruments sound at once; after a second of rest, the first loud sample is their attack."""
    voice = tuple(Note(0.1 + 1.1 * i, 0.1, pitch, 100) for i, pitch in enumerate(SCALE))
    for program in (0, 11):
        audio = font.play((voice,), program, 9.0).mean(axis=0)
        for note in voice:
            assert -0.002 < attack_of(audio, note.start, SYNTHESIS_RATE) < 0.015


@pytest.mark.parametrize("seed", range(4))
def test_attacks_of_source_and_target_are_together(sound_font: Path, font_of: FONT_OF, seed: int):
    """Rooms, tone, noise, touch and tuning move no attack; jitter does, by less than 5 ms, and the notes tell."""
    voice = tuple(Note(0.1 + 0.8 * i, 0.1, pitch, 100) for i, pitch in enumerate(SCALE[:4]))
    plan = plan_of(Score(((voice,), (voice,)), 0, 60.0, 0), sound_font)
    piano = varied(plan, sound_font, seed)
    harsh = {
        "piano": replace(piano.performances[SOURCE]["piano"], program=0, jitter=0.004),
        "strings": piano.performances[SOURCE]["strings"],
    }
    mix = mix_piece(replace(piano, performances={**piano.performances, SOURCE: harsh}), font_of)
    dry = mix_piece(plan, font_of)
    for moved, note, nominal in zip(mix.notes["piano"], mix.notes["vibraphone"], voice, strict=True):
        assert abs(moved[0] - note[0]) < 0.005
        assert abs(note[0] - nominal.start) < 0.001
        attack = attack_of(mix.tracks["piano"], moved[0], SAMPLE_RATE)
        assert abs(attack - attack_of(dry.tracks["piano"], note[0], SAMPLE_RATE)) < 0.003
        assert abs(attack_of(mix.tracks["vibraphone"], note[0], SAMPLE_RATE)) < 0.015


@pytest.mark.parametrize("which", ["plain_mix", "varied_mix"])
def test_notes_are_those_that_are_heard(which: str, request: pytest.FixtureRequest):
    mix: Mix = request.getfixturevalue(which)
    size = 1 << 14
    for stem in ("strings", "piano", "clarinet", "vibraphone"):
        audio = mix.tracks[stem].astype(float)
        offset = 0 if stem in ("strings", "clarinet") else -5
        assert [note[2] for note in mix.notes[stem]] == [pitch + offset for pitch in SCALE]
        floor = np.abs(audio[: round((mix.notes[stem][0][0] - 0.005) * SAMPLE_RATE)]).max()
        is_noisy = which == "varied_mix" and stem in ("strings", "piano")
        assert floor <= (32768 * 10 ** (-30 / 20) if is_noisy else 2)  # -48 dBFS and its peaks
        for start, duration, pitch, _ in mix.notes[stem]:
            part = audio[round((start + 0.1) * SAMPLE_RATE) : round((start + duration) * SAMPLE_RATE)]
            spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
            heard = 69 + 12 * np.log2(np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE / size, 1) / 440)
            near = np.abs(heard - pitch) < 1.5  # the loudest within a tone and a half is the note itself
            assert abs(heard[near][spectrum[near].argmax()] - pitch) < 0.5


def test_an_instrument_is_detuned_by_the_cents_that_were_asked_for(font: SoundFont):
    voice = (Note(0.0, 1.9, 69, 90),)
    peaks = []
    for cents in (0.0, 10.0, -50.0):
        audio = font.play((voice,), 11, 2.0, cents).mean(axis=0)[4000:70_000]
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 20))
        peaks.append(float(spectrum.argmax()))
    assert 1200 * np.log2(peaks[1] / peaks[0]) == pytest.approx(10, abs=1.1)  # fluidsynth counts in whole cents
    assert 1200 * np.log2(peaks[2] / peaks[0]) == pytest.approx(-50, abs=1.1)


def test_any_number_of_instruments_and_domains_can_play(sound_font: Path, font_of: FONT_OF):
    trio = make_domains([parse_domain("a-trio=strings,piano,flute"), parse_domain("b=clarinet,vibraphone,trumpet")])
    alone = make_domains([parse_domain("one=oboe"), parse_domain("two=cello"), parse_domain("three=harp")])
    for domains, stems in ((trio, 3), (alone, 1)):
        score = Score(tuple((scale(offset)[:2],) for offset in range(stems)), 0, 120.0, 0)
        mix = mix_piece(plan_of(score, sound_font, domains), font_of)
        for domain, players in domains.items():
            total = sum(mix.tracks[player.stem].astype(int) for player in players)
            np.testing.assert_array_equal(total, mix.tracks[domain])
        assert [notes[0][2] for notes in mix.notes.values()] == [*range(60, 60 + stems)] * len(domains)


def test_a_font_that_cannot_play_is_one_clear_line(sound_font: Path, font: SoundFont, tmp_path: Path):
    (tmp_path / "text.sf2").write_text("no font")
    with pytest.raises(UserError, match="not a sound font"):
        SoundFont(tmp_path / "text.sf2")
    (tmp_path / "cut.sf2").write_bytes(sound_font.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot load"):
        SoundFont(tmp_path / "cut.sf2")
    with pytest.raises(UserError, match="no General MIDI program 129"):
        font.play((scale(0),), 128, 4.0)
    silent = plan_of(Score(((), (scale(0),)), 0, 120.0, 0), sound_font)
    with pytest.raises(UserError, match="gives silence for strings"):
        mix_piece(silent, lambda _: font)
