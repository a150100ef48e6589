"""The fast encoder against the reference, and the properties of streaming."""

from __future__ import annotations

import dataclasses

import _musicstar_core as core
import numpy as np
import pytest
from random_networks import FP32_TOLERANCE, SMALL_ENCODER, random_codes, random_weights, sizes

from musicstar_ext.architecture import EncoderConfig


def encode_at_once(config, weights, codes, isa, threads=1):
    encoder = core.Encoder(sizes(config), weights, threads=threads, isa=isa)
    return np.concatenate([encoder.push(codes), encoder.finish()])


@pytest.mark.parametrize("kind", ["universal", "music-star"])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_reference(isa, kind, kernel_size, threads):
    config = dataclasses.replace(SMALL_ENCODER, kind=kind, kernel_size=kernel_size)
    weights = random_weights(config)
    codes = random_codes(700)
    expected = core.ReferenceEncoder(sizes(config), weights).encode(codes)
    np.testing.assert_allclose(encode_at_once(config, weights, codes, isa, threads), expected, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("kind", ["universal", "music-star"])
def test_full_size_equals_the_reference(isa, kind):
    config = EncoderConfig(kind=kind, blocks=3, layers=10) if kind == "universal" else EncoderConfig()
    config = dataclasses.replace(config, pool=40)
    weights = random_weights(config)
    codes = random_codes(120)
    expected = core.ReferenceEncoder(sizes(config), weights).encode(codes)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(encode_at_once(config, weights, codes, isa, 2), expected, atol=FP32_TOLERANCE)


def test_long_dilations_equal_the_reference(isa):
    config = EncoderConfig(blocks=1, layers=14, channels=3, code_channels=2, pool=800)
    weights = random_weights(config)
    codes = random_codes(20_000)
    expected = core.ReferenceEncoder(sizes(config), weights).encode(codes)
    np.testing.assert_allclose(encode_at_once(config, weights, codes, isa, 2), expected, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("samples", [0, 1, 12, 13, 14, 26, 63, 64, 1023, 1024, 1025, 2049])
def test_awkward_lengths(isa, samples):
    weights = random_weights(SMALL_ENCODER)
    codes = random_codes(samples)
    expected = core.ReferenceEncoder(sizes(SMALL_ENCODER), weights).encode(codes)
    found = encode_at_once(SMALL_ENCODER, weights, codes, isa)
    assert found.shape == (samples // SMALL_ENCODER.pool, SMALL_ENCODER.code_channels)
    np.testing.assert_allclose(found, expected, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_equal_the_whole_to_the_bit(isa, threads):
    weights = random_weights(SMALL_ENCODER)
    codes = random_codes(5000)
    whole = encode_at_once(SMALL_ENCODER, weights, codes, isa)
    encoder = core.Encoder(sizes(SMALL_ENCODER), weights, threads=threads, isa=isa)
    for cuts in ([1, 2, 15, 16, 1039, 1040, 3000], [0, 0, 4999], [2500]):
        pieces = [encoder.push(piece) for piece in np.split(codes, cuts)]
        np.testing.assert_array_equal(np.concatenate([*pieces, encoder.finish()]), whole)


def test_look_ahead_is_exact(isa):
    """A frame depends on the sample `look_ahead` after it, and appears as soon as that sample has been pushed."""
    # Few layers: through many, the outermost tap's share falls below what single precision holds.
    config = dataclasses.replace(SMALL_ENCODER, blocks=1, layers=3)
    encoder = core.Encoder(sizes(config), random_weights(config), isa=isa)
    certain = config.pool + encoder.look_ahead
    assert encoder.look_ahead == 1 + sum(config.dilations)
    codes = random_codes(certain)
    assert encoder.push(codes[:-1]).shape[0] == 0
    first = encoder.push(codes[-1:])
    assert first.shape[0] == 1
    encoder.reset()
    codes[-1] ^= 0xFF
    assert (encoder.push(codes) != first).any()


def test_reset_forgets(isa):
    weights = random_weights(SMALL_ENCODER)
    codes = random_codes(300)
    encoder = core.Encoder(sizes(SMALL_ENCODER), weights, isa=isa)
    encoder.push(random_codes(1000, seed=9))
    encoder.reset()
    np.testing.assert_array_equal(
        np.concatenate([encoder.push(codes), encoder.finish()]), encode_at_once(SMALL_ENCODER, weights, codes, isa)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start.weight": None}, "'start.weight' is missing"),
        ({"extra": np.zeros(3, np.float32)}, "unknown tensor 'extra'"),
        ({"code.bias": np.zeros(8, np.float32)}, r"'code.bias' must have shape \(7\), not \(8\)"),
        ({"code.bias": np.zeros(7)}, "'code.bias' must have dtype float32"),
        ({"code.bias": np.zeros(14, np.float32)[::2]}, "'code.bias' must be C-contiguous"),
        ({"code.bias": [0.0] * 7}, "'code.bias' must be a numpy array"),
    ],
)
def test_weights_are_checked(change, message):
    weights = random_weights(SMALL_ENCODER) | change
    weights = {name: array for name, array in weights.items() if array is not None}
    for make in (core.Encoder, core.ReferenceEncoder):
        with pytest.raises((TypeError, ValueError), match=message):
            make(sizes(SMALL_ENCODER), weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers must be between 1 and 20"),
        ({"layers": 21}, "layers must be between 1 and 20"),
        ({"channels": -4}, "channels must be between"),
        ({"channels": 2.5}, "channels must be an integer"),
        ({"kind": "other"}, "kind must be"),
        ({"colour": 3}, "unknown size 'colour'"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        core.Encoder(sizes(SMALL_ENCODER) | change, random_weights(SMALL_ENCODER))


@pytest.mark.parametrize("codes", [np.zeros(4), np.zeros((2, 2), np.uint8), np.zeros(8, np.uint8)[::2]])
def test_codes_are_checked(codes):
    encoder = core.Encoder(sizes(SMALL_ENCODER), random_weights(SMALL_ENCODER))
    with pytest.raises((TypeError, ValueError), match="codes must"):
        encoder.push(codes)
