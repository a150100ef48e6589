"""fp32 draws of trained models equal the scalar reference's: there sums cancel, and probabilities have peaks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import _musicstar_core as core
import numpy as np
import pytest
import soundfile

from musicstar_ext import checkpoints, models

DRAWS = 4_000
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


def test_every_draw_is_the_references(isa, drawn_by_the_reference):
    sizes, weights, condition, uniforms, expected = drawn_by_the_reference
    sampler = core.Sampler(sizes, weights, isa=isa, precision="fp32")
    assert sampler.isa == isa
    found = sampler.sample(condition[None], uniforms[None])[0]
    assert len(np.unique(expected)) > 4  # trained: not silence
    np.testing.assert_array_equal(found, expected)
