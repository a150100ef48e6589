"""bf16 and int8: a bounded distance from the reference, and every property of fp32 to the bit."""

from __future__ import annotations

import _musicstar_core as core
import numpy as np
import pytest
from random_networks import SMALL_DECODER, SMALL_ENCODER, random_codes, random_condition, random_weights, sizes

from musicstar_ext.architecture import DecoderConfig

# Mean Kullback-Leibler divergence from the reference's next-sample distribution that rounding may cost, nats, on random
# weights (which have nothing to average over and are the harder case). Measured at full size: 4e-5 and 9e-4 with AVX2.
DIVERGENCE = {"bf16": 3e-4, "int8": 2e-3}
# Root mean square error of encoder codes, relative to their own root mean square.
CODE_ERROR = {"bf16": 0.02, "int8": 0.06}


@pytest.fixture(params=["fp32", "bf16", "int8"])
def precision(request):
    return request.param


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("precision", ["bf16", "int8"], indirect=True)
@pytest.mark.parametrize("config", [SMALL_DECODER, DecoderConfig()], ids=["small", "full size"])
def test_divergence_from_the_reference(isa, precision, config):
    weights = random_weights(config)
    samples = 48
    codes, condition = random_codes(samples, classes=config.classes), random_condition(config, samples)
    expected = log_softmax(core.ReferenceSampler(sizes(config), weights).score(condition, codes))
    sampler = core.Sampler(sizes(config), weights, isa=isa, precision=precision)
    assert sampler.precision == precision
    found = log_softmax(sampler.score(condition[None], codes[None])[0])
    divergence = (np.exp(expected) * (expected - found)).sum(-1).mean()
    assert 0 < divergence < DIVERGENCE[precision]


@pytest.mark.parametrize("precision", ["bf16", "int8"], indirect=True)
@pytest.mark.parametrize("kind", ["universal", "music-star"])
def test_codes_are_near_the_reference(isa, precision, kind):
    config = SMALL_ENCODER.__class__(**{**sizes(SMALL_ENCODER), "kind": kind})
    weights = random_weights(config)
    codes = random_codes(700)
    expected = core.ReferenceEncoder(sizes(config), weights).encode(codes)
    encoder = core.Encoder(sizes(config), weights, isa=isa, precision=precision)
    found = np.concatenate([encoder.push(codes), encoder.finish()])
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < CODE_ERROR[precision]


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_lanes_threads_and_pieces_change_no_bit(isa, precision, kernel_size):
    config = DecoderConfig(**{**sizes(SMALL_DECODER), "kernel_size": kernel_size})
    weights = random_weights(config)
    samples, lanes = 150, 11
    condition = np.stack([random_condition(config, samples, seed) for seed in range(lanes)])
    uniforms = np.stack([core.philox_uniforms(1, lane, 0, samples) for lane in range(lanes)])
    together = core.Sampler(sizes(config), weights, lanes=lanes, threads=2, isa=isa, precision=precision)
    expected = together.sample(condition, uniforms)
    alone = core.Sampler(sizes(config), weights, isa=isa, precision=precision)
    for lane in range(lanes):
        alone.reset()
        found = []
        for begin, end in [(0, 1), (1, 8), (8, 37), (37, 38), (38, 111), (111, 150)]:
            frames = condition[lane : lane + 1, begin // config.pool : (end - 1) // config.pool + 1]
            found.append(alone.sample(frames.copy(), uniforms[lane : lane + 1, begin:end].copy())[0])
        np.testing.assert_array_equal(np.concatenate(found), expected[lane])


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("threads", [2, 3])
def test_a_split_lane_changes_no_bit(isa, precision, kernel_size, threads):
    """One lane whose layers several threads share, against one thread; in pieces, across frames."""
    config = DecoderConfig(
        blocks=2,
        layers=5,
        residual_channels=70,
        skip_channels=50,
        kernel_size=kernel_size,
        condition_channels=5,
        pool=40,
    )
    weights = random_weights(config)
    condition, uniforms = random_condition(config, 60)[None], core.philox_uniforms(3, 0, 0, 60)[None]
    one = core.Sampler(sizes(config), weights, isa=isa, precision=precision)
    several = core.Sampler(sizes(config), weights, threads=threads, isa=isa, precision=precision, split="always")
    assert several.is_split
    assert not one.is_split
    expected = one.sample(condition, uniforms)
    found = [
        several.sample(condition[:, begin // 40 : (end - 1) // 40 + 1].copy(), uniforms[:, begin:end].copy())
        for begin, end in [(0, 33), (33, 34), (34, 60)]
    ]
    np.testing.assert_array_equal(np.concatenate(found, 1), expected)
    chosen = core.Sampler(
        sizes(config), weights, threads=threads, isa=isa, precision=precision
    )  # and may change its mind
    np.testing.assert_array_equal(chosen.sample(condition, uniforms), expected)
    several.reset(0.0)
    one.reset(0.0)
    codes = random_codes(60)[None]
    np.testing.assert_array_equal(several.score(condition, codes), one.score(condition, codes))


def test_encoder_pieces_and_threads_change_no_bit(isa, precision):
    weights = random_weights(SMALL_ENCODER)
    codes = random_codes(3000)
    encoder = core.Encoder(sizes(SMALL_ENCODER), weights, isa=isa, precision=precision)
    whole = np.concatenate([encoder.push(codes), encoder.finish()])
    encoder = core.Encoder(sizes(SMALL_ENCODER), weights, threads=2, isa=isa, precision=precision)
    pieces = [encoder.push(piece) for piece in np.split(codes, [1, 7, 1039, 2000])]
    np.testing.assert_array_equal(np.concatenate([*pieces, encoder.finish()]), whole)


def test_an_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="precision must be fp32, bf16 or int8, not 'fp64'"):
        core.Sampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER), precision="fp64")
