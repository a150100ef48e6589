"""fp32 draws of trained models equal the scalar reference's: there sums cancel, and probabilities have peaks.

A uniform number that lies on the boundary between two codes, to within the rounding of a sum of float32 probabilities,
belongs to either; after such a tie the reference's code is fed, and every other draw has to be equal.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import _musicstar_core as core
import numpy as np
import pytest
import soundfile

from musicstar_ext import checkpoints, models

DRAWS = 4_000
TIE = (
    8 * 2.0**-24
)  # of a probability: 8 units in the last place below 1; the uniform numbers are whole multiples of one
MOST_TIES = 1  # of the 4,000 draws
EXAMPLES = Path(__file__).parents[2] / "examples"
SHIPPED = models.names() or [pytest.param("", marks=pytest.mark.skip(reason="no model ships with this version"))]


@pytest.fixture(scope="module", params=SHIPPED)
def drawn_by_the_reference(request):
    """The decoder's sizes and weights, frames of the example of its domain, uniforms, and what the reference draws."""
    checkpoint = checkpoints.load(models.find(request.param))
    audio, _ = soundfile.read(EXAMPLES / f"{checkpoint.domains['source']}.wav", frames=16_000, dtype="float32")
    encoder = core.Encoder(dataclasses.asdict(checkpoint.networks["encoder"]), checkpoint.weights["encoder"])
    frames = np.concatenate([encoder.push(core.mu_law_encode(audio)), encoder.finish()])
    sizes, weights = dataclasses.asdict(checkpoint.networks["decoder"]), checkpoint.weights["decoder"]
    condition = frames[: -(-DRAWS // sizes["pool"])].copy()
    uniforms = core.philox_uniforms(0, 0, 0, DRAWS)
    return sizes, weights, condition, uniforms, core.ReferenceSampler(sizes, weights).sample(condition, uniforms)


def ties_of(sizes, weights, condition, uniforms, codes) -> np.ndarray:
    """The draws whose uniform number is on a boundary of the reference's distribution."""
    logits = core.ReferenceSampler(sizes, weights).score(condition, codes).astype(np.float64)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    boundaries = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
    return np.flatnonzero((np.abs(boundaries - uniforms[:, None]) < TIE).any(axis=1))


def test_every_draw_is_the_references(isa, drawn_by_the_reference):
    sizes, weights, condition, uniforms, expected = drawn_by_the_reference
    ties = ties_of(*drawn_by_the_reference)
    assert len(ties) <= MOST_TIES
    sampler = core.Sampler(sizes, weights, isa=isa, precision="fp32")
    assert sampler.isa == isa
    assert len(np.unique(expected)) > 4  # trained: not silence
    start = 0
    for stop in (*ties, DRAWS):
        if start < stop:
            found = sampler.sample(touched(condition, sizes, start, stop), uniforms[None, start:stop].copy())[0]
            np.testing.assert_array_equal(found, expected[start:stop])
        if stop < DRAWS:
            sampler.score(touched(condition, sizes, stop, stop + 1), expected[None, stop : stop + 1].copy())
        start = stop + 1


def touched(condition, sizes, start: int, stop: int) -> np.ndarray:
    """The frames of samples start to stop - 1, for one lane."""
    pool = sizes["pool"]
    return condition[None, start // pool : -(-stop // pool)].copy()
