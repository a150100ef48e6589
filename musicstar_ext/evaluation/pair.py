"""All measures of one translation, against the true recording; with what they say of easier things beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from musicstar_ext.cache import Cache
from musicstar_ext.errors import MissingExtraError, UserError
from musicstar_ext.runtime.samples import Audio

from .content import jaccard_of_sets, through_mu_law
from .notes import Notes, check_mir_eval, note_scores, pitch_scores, sounding_frequencies, track_notes
from .pitch import Frames, multi_pitch, pitch_sets
from .recording import RATE, cut_to_shortest, is_silent, length_warning
from .spectral import log_spectral_distance

OUTPUT, SOURCE, MU_LAW, GOLD = "output", "source", "mu-law", "gold"

MEASURES = {
    "content": "content, Jaccard of pitch sets",
    "style": "style, cosine of the triplet network",
    "pitch_accuracy": "multi-pitch accuracy against gold",
    "pitch_precision": "multi-pitch precision",
    "pitch_recall": "multi-pitch recall",
    "pitch_chroma_accuracy": "multi-pitch accuracy, octaves folded",
    "true_pitch_accuracy": "multi-pitch accuracy against the true notes",
    "true_pitch_precision": "multi-pitch precision, true notes",
    "true_pitch_recall": "multi-pitch recall, true notes",
    "true_pitch_chroma_accuracy": "multi-pitch accuracy, true notes, octaves folded",
    "note_f": "note F-measure against gold's found notes",
    "note_precision": "note precision",
    "note_recall": "note recall",
    "true_note_f": "note F-measure against the true notes",
    "true_note_precision": "note precision, true notes",
    "true_note_recall": "note recall, true notes",
    "log_spectral_distance": "log-spectral distance in dB (lower is better)",
}
"""Every measure's name in JSON, and in the table; in the table's order."""


class Style(Protocol):
    """What measures style: `style.StyleModel`, which needs torch, without importing it here."""

    def cosine(self, output: Audio, gold: Audio, cache: Cache | None = None) -> float: ...


@dataclass
class PairReport:
    """What was measured.

    Attributes:
        seconds: of audio that was compared.
        values: {candidate: {measure: value}}, candidates "output", "source" (copied unchanged: no translation at all),
            "mu-law" (the true recording through 8-bit mu-law: the best that a model of 256 classes can do), "gold".
        warnings: one line each.
        missing: {group of measures: why they could not be taken}.
    """

    seconds: float
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def measure_pair(
    output: Audio,
    gold: Audio,
    *,
    source: Audio | None = None,
    style: Style | None = None,
    notes: Notes | None = None,
    cache: Cache | None = None,
) -> PairReport:
    """Compare a translation with the true recording, by every measure whose libraries are there.

    Args:
        output, gold, source: 16 kHz recordings [N]; the source is what was translated.
        style: a trained style network; without one, style is not measured.
        notes: the notes that were played, [N, 3] (start, end, MIDI pitch).
        cache: keeps pitches and MFCCs.

    Raises:
        UserError: the lengths differ by more than a tenth, or the true recording is silent.
    """
    recordings = {OUTPUT: output, GOLD: gold} | ({SOURCE: source} if source is not None else {})
    warnings = [
        line
        for name, samples in recordings.items()
        if (line := length_warning(samples, gold, f"the {name}") if name != GOLD else "")
    ]
    recordings = dict(zip(recordings, cut_to_shortest(list(recordings.values())), strict=True))
    gold = recordings[GOLD]
    if is_silent(gold):
        raise UserError("the true recording is silent: there is nothing to compare with")
    if is_silent(recordings[OUTPUT]):
        warnings.append("the output is silent")
    candidates = {OUTPUT: recordings[OUTPUT]}
    if source is not None:
        candidates[SOURCE] = recordings[SOURCE]
    candidates |= {MU_LAW: through_mu_law(gold), GOLD: gold}

    report = PairReport(len(gold) / RATE, {name: {} for name in candidates}, warnings)
    pitches = _Pitches(candidates, cache)
    _take(report, "content", lambda name: {"content": jaccard_of_sets(pitches.sets[name], pitches.sets[GOLD])})
    _take(report, "pitches and notes", lambda name: _pitch_measures(pitches, name, notes))
    if style is not None:
        _take(report, "style", lambda name: {"style": style.cosine(candidates[name], gold, cache)})
    _take(report, "spectrum", lambda name: {"log_spectral_distance": log_spectral_distance(candidates[name], gold)})
    return report


def _take(report: PairReport, group: str, measure: Callable[[str], dict[str, float]]) -> None:
    """Measure each candidate, or note which library that needs."""
    try:
        taken = {name: measure(name) for name in report.values}
    except MissingExtraError as error:
        report.missing[group] = str(error)
        return
    for name, values in taken.items():
        report.values[name] |= values


class _Pitches:
    """The candidates' frames and pitch sets, found when first asked for."""

    def __init__(self, candidates: Mapping[str, Audio], cache: Cache | None) -> None:
        self._candidates, self._cache = candidates, cache

    @cached_property
    def frames(self) -> dict[str, Frames]:
        return {name: multi_pitch(samples, self._cache) for name, samples in self._candidates.items()}

    @cached_property
    def sets(self) -> dict[str, list[frozenset[int]]]:
        return {name: pitch_sets(found) for name, found in self.frames.items()}


def _pitch_measures(pitches: _Pitches, name: str, true: Notes | None) -> dict[str, float]:
    check_mir_eval()
    frames, gold = pitches.frames[name], pitches.frames[GOLD]
    found = track_notes(pitches.sets[name])
    values = {f"pitch_{key}": value for key, value in pitch_scores(frames, gold).items()}
    values |= {f"note_{key}": value for key, value in note_scores(found, track_notes(pitches.sets[GOLD])).items()}
    if true is not None:
        sounding = sounding_frequencies(true, len(gold))
        values |= {f"true_pitch_{key}": value for key, value in pitch_scores(frames, sounding).items()}
        values |= {f"true_note_{key}": value for key, value in note_scores(found, true).items()}
    return values
