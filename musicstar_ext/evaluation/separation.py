"""How well a separator takes mixtures apart: SDR and SI-SDR of every stem, over whole pieces.

With s the true stem and e the separated one, both [samples]:

    SDR    = 10 log10( |s|^2 / |s - e|^2 )                     the Music Demixing Challenge's (Mitsufuji et al. 2022)
    SI-SDR = 10 log10( |a s|^2 / |a s - e|^2 ),  a = <e, s> / |s|^2     Le Roux et al. 2019: whatever the gain of e

in decibels, channels averaged first, as translation hears them. Neither is defined for a stem that is silent throughout
a piece: such a stem is left out there. This is not BSS Eval's SDR, which forgives a filter of 512 taps and is usually a
little higher.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.data.prepared import Piece, PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.separation import Separator

MEASURES = ("sdr", "si_sdr")
AT_A_TIME = 1 << 17  # samples that are read at once


@dataclass
class Fit:
    """Sums over time of a true and a separated stem, from which both measures follow."""

    true: float = 0.0  # |s|^2
    separated: float = 0.0  # |e|^2
    product: float = 0.0  # <e, s>
    error: float = 0.0  # |s - e|^2

    def update(self, true: NDArray[Any], separated: NDArray[Any]) -> None:
        s, e = np.asarray(true, np.float64), np.asarray(separated, np.float64)
        self.true += float(s @ s)
        self.separated += float(e @ e)
        self.product += float(e @ s)
        self.error += float((s - e) @ (s - e))

    @property
    def sdr(self) -> float:
        return _decibels(self.true, self.error) if self.true else math.nan

    @property
    def si_sdr(self) -> float:
        if not self.true:
            return math.nan
        kept = self.product**2 / self.true  # |a s|^2
        return _decibels(kept, self.separated - kept)


def sdr(true: NDArray[Any], separated: NDArray[Any]) -> float:
    """Signal-to-distortion ratio of [samples] in dB; nan where the true stem is silent, inf where all is right.

    Raises:
        ValueError: the lengths differ.
    """
    return _fit(true, separated).sdr


def si_sdr(true: NDArray[Any], separated: NDArray[Any]) -> float:
    """Scale-invariant SDR of [samples] in dB; nan where the true stem is silent, -inf where nothing of it is left.

    Raises:
        ValueError: the lengths differ.
    """
    return _fit(true, separated).si_sdr


@dataclass
class SeparationReport:
    """Decibels of every piece and stem.

    Attributes:
        stems: the separator's.
        pieces: {piece: {stem: {"sdr", "si_sdr", "mixture_sdr", "mixture_si_sdr"}}}; the latter two are those of the
            mixture itself, taken for the stem. A stem that is silent in a piece has no entry.
    """

    stems: tuple[str, ...]
    pieces: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, Any]]:
        """{stem: {"pieces": how many, measure: {"median", "mean"}}}, over the pieces in which the stem sounds."""
        return {stem: self._of(stem) for stem in self.stems}

    def _of(self, stem: str) -> dict[str, Any]:
        found = [stems[stem] for stems in self.pieces.values() if stem in stems]
        measures = [f"{prefix}{measure}" for prefix in ("", "mixture_") for measure in MEASURES]
        return {"pieces": len(found)} | {
            measure: {
                "median": statistics.median(values) if values else math.nan,
                "mean": sum(values) / len(values) if values else math.nan,
            }
            for measure in measures
            for values in [[entry[measure] for entry in found]]
        }


def evaluate_separation(
    separator: Separator,
    prepared: PreparedSet,
    split: str = "test",
    own_mixtures: bool = False,
    progress: Callable[[int], object] = lambda samples: None,
) -> SeparationReport:
    """Separate the mixtures of a split and compare with their stems, in bounded memory.

    Args:
        prepared: a set at the separator's rate: `matching_set` finds it.
        own_mixtures: separate the set's mixtures, rather than the sums of their stems; in recorded sets the gains of
            the stems differ from those in their mixture, so that even perfect separation would not score.
        progress: told how many samples more are done.

    Raises:
        UserError: the set has no such pieces, not these stems, or another rate.
    """
    pieces = _pieces(prepared, split)
    domain = _domain(separator, prepared)
    if prepared.sample_rate != separator.sample_rate:
        raise UserError(f"the separator hears {separator.sample_rate} Hz, {prepared.folder} has {prepared.sample_rate}")
    report = SeparationReport(separator.stems)
    for piece in pieces:
        fits = _measure(separator, piece, domain if own_mixtures else "", progress)
        report.pieces[piece.name] = {
            stem: {
                **{measure: getattr(fit, measure) for measure in MEASURES},
                **{f"mixture_{measure}": getattr(mixture, measure) for measure in MEASURES},
            }
            for stem, (fit, mixture) in fits.items()
            if fit.true
        }
    return report


def matching_set(prepared: PreparedSet, sample_rate: int) -> PreparedSet:
    """The set, or its full-rate copy, whichever has the rate.

    Raises:
        UserError: neither has.
    """
    sets = [found for found in (prepared, prepared.full_rate()) if found is not None]
    for found in sets:
        if found.sample_rate == sample_rate:
            return found
    rates = " and ".join(str(found.sample_rate) for found in sets)
    raise UserError(f"{prepared.folder}: has {rates} Hz, the separator hears {sample_rate} Hz")


def total_samples(prepared: PreparedSet, split: str) -> int:
    """Samples of all pieces of a split.

    Raises:
        UserError: it has none.
    """
    return sum(piece.samples for piece in _pieces(prepared, split))


def _measure(
    separator: Separator, piece: Piece, own_mixture: str, progress: Callable[[int], object]
) -> dict[str, tuple[Fit, Fit]]:
    """{stem: (fit of the separated stem, fit of the mixture)} over a piece."""
    stems = {stem: piece.audio(stem) for stem in separator.stems}
    heard = [piece.audio(own_mixture)] if own_mixture else list(stems.values())
    fits = {stem: (Fit(), Fit()) for stem in stems}

    def mixture(start: int, stop: int) -> NDArray[np.float32]:
        tracks = np.stack([_audio(track[start:stop]) for track in heard])  # [heard, n, channels]
        mixed: NDArray[np.float32] = tracks.sum(axis=0)
        return mixed if mixed.shape[1] == separator.channels else mixed.mean(axis=1, keepdims=True)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, piece.samples, AT_A_TIME):
            yield mixture(start, start + AT_A_TIME)

    at = 0
    for separated in separator.separate(blocks()):
        stop = at + len(next(iter(separated.values())))
        mixed = mixture(at, stop).mean(axis=1)
        for stem, audio in separated.items():
            true = _audio(stems[stem][at:stop]).mean(axis=1)
            fit, of_mixture = fits[stem]
            fit.update(true, audio)
            of_mixture.update(true, mixed)
        progress(stop - at)
        at = stop
    return fits


def _audio(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """[n] or [n, channels] 16-bit samples as [n, channels], full scale at 1."""
    return np.asarray(samples, np.float32).reshape(len(samples), -1) / np.float32(32768)


def _pieces(prepared: PreparedSet, split: str) -> list[Piece]:
    pieces = [piece for piece in prepared.pieces(split) if piece.samples]
    if not pieces:
        raise UserError(f"{prepared.folder}: has no pieces in the split {split!r}")
    return pieces


def _domain(separator: Separator, prepared: PreparedSet) -> str:
    for domain, stems in prepared.domains.items():
        if set(stems) == set(separator.stems):
            return domain
    wanted = ", ".join(separator.stems)
    raise UserError(f"{prepared.folder}: no domain has just the separator's stems, {wanted}")


def _fit(true: NDArray[Any], separated: NDArray[Any]) -> Fit:
    if np.shape(true) != np.shape(separated) or np.ndim(true) != 1:
        raise ValueError(f"two stems of shapes {np.shape(true)} and {np.shape(separated)}: they must be [samples]")
    fit = Fit()
    fit.update(true, separated)
    return fit


def _decibels(signal: float, error: float) -> float:
    if not signal:
        return -math.inf
    return 10 * math.log10(signal / error) if error > 0 else math.inf  # rounding may take it below zero
