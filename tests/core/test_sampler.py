"""The fast sampler against the reference: logits within the tolerance, draws equal."""

from __future__ import annotations

import dataclasses
import threading

import _musicstar_core as core
import numpy as np
import pytest
from random_networks import (
    FP32_TOLERANCE,
    SMALL_DECODER,
    random_codes,
    random_condition,
    random_weights,
    sizes,
)

from musicstar_ext.architecture import DecoderConfig

LANES_AND_THREADS = [(1, 1), (1, 2), (2, 1), (3, 2), (5, 2), (13, 2), (16, 1)]


def repeated(array: np.ndarray, lanes: int) -> np.ndarray:
    return np.repeat(array[None], lanes, 0)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_reference_steps_equal_reference_convolutions(kernel_size):
    config = dataclasses.replace(SMALL_DECODER, kernel_size=kernel_size)
    sampler = core.ReferenceSampler(sizes(config), random_weights(config))
    codes, condition = random_codes(200, classes=100), random_condition(config, 200)
    sampler.reset(0.0)  # teacher forcing starts from zero, generation from code 128
    np.testing.assert_allclose(
        sampler.score(condition, codes), sampler.teacher_forced(condition, codes), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize(("lanes", "threads"), LANES_AND_THREADS)
def test_logits_equal_the_reference(isa, kernel_size, lanes, threads):
    config = dataclasses.replace(SMALL_DECODER, kernel_size=kernel_size)
    weights = random_weights(config)
    codes, condition = random_codes(150, classes=100), random_condition(config, 150)
    expected = core.ReferenceSampler(sizes(config), weights).score(condition, codes)
    sampler = core.Sampler(sizes(config), weights, lanes=lanes, threads=threads, isa=isa)
    found = sampler.score(repeated(condition, lanes), repeated(codes, lanes))
    np.testing.assert_allclose(found, repeated(expected, lanes), atol=FP32_TOLERANCE)


@pytest.mark.parametrize("filter_", [-90.0, -45.0, -15.0, 45.0, 90.0])
@pytest.mark.parametrize("gate", [-100.0, -6.0, 0.0, 6.0, 100.0])
def test_saturated_gates(isa, gate, filter_):
    """A tanh that has reached -1 must not close a gate that is open yet: -sigmoid(-6) is -0.0025, not 0."""
    config = DecoderConfig(blocks=1, layers=1, residual_channels=8, skip_channels=8, condition_channels=1, pool=10)
    weights = {name: np.zeros_like(weight) for name, weight in random_weights(config).items()}
    weights["layers.0.dilated.bias"] = np.repeat(np.float32([gate, filter_]), 8)
    weights["layers.0.skip.weight"] = 100 * np.sign(filter_) * np.eye(8, dtype=np.float32)[:, :, None]
    weights["head.weight"] = np.eye(8, dtype=np.float32)[:, :, None]
    weights["logits.weight"] = np.ones_like(weights["logits.weight"])
    weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
    codes, condition = random_codes(20), random_condition(config, 20)
    expected = core.ReferenceSampler(sizes(config), weights).score(condition, codes)
    assert expected[0, 0] == pytest.approx(800 / (1 + np.exp(-gate)), rel=1e-5, abs=1e-6)
    found = core.Sampler(sizes(config), weights, isa=isa).score(condition[None], codes[None])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_full_size_logits_equal_the_reference(isa):
    config = DecoderConfig()
    weights = random_weights(config)
    codes, condition = random_codes(64), random_condition(config, 64)
    expected = core.ReferenceSampler(sizes(config), weights).score(condition, codes)
    found = core.Sampler(sizes(config), weights, isa=isa).score(condition[None], codes[None])[0]
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=FP32_TOLERANCE)


@pytest.fixture(scope="module")
def four_thousand():
    """4,000 reference draws of a decoder with long dilations."""
    config = DecoderConfig(blocks=2, layers=10, residual_channels=32, skip_channels=48, condition_channels=16)
    weights = random_weights(config)
    weights["logits.weight"] *= 3  # a distribution with some shape
    samples = 4000
    condition = random_condition(config, samples)
    uniforms = core.philox_uniforms(7, 0, 0, samples)
    reference = core.ReferenceSampler(sizes(config), weights)
    expected = reference.sample(condition, uniforms)
    assert len(np.unique(expected)) > 100
    # No uniform lies nearer to a border between two codes than single precision can tell (a 24-bit step is 6e-8; among
    # a million borders some seeds come that near): such a draw would test luck.
    reference.reset()
    logits = reference.score(condition, expected).astype(np.float64)
    cumulative = np.cumsum(np.exp(logits - logits.max(1, keepdims=True)), axis=1)
    nearest = np.abs(cumulative / cumulative[:, -1:] - uniforms[:, None]).min()
    assert nearest > 2**-23
    return config, weights, condition, uniforms, expected


@pytest.mark.parametrize(("lanes", "threads"), [(1, 1), (1, 2), (5, 1), (8, 2)])
def test_draws_equal_the_reference(isa, four_thousand, lanes, threads):
    config, weights, condition, uniforms, expected = four_thousand
    sampler = core.Sampler(sizes(config), weights, lanes=lanes, threads=threads, isa=isa)
    found = sampler.sample(repeated(condition, lanes), repeated(uniforms, lanes))
    np.testing.assert_array_equal(found, repeated(expected, lanes))


def test_pieces_equal_the_whole(isa, four_thousand):
    config, weights, condition, uniforms, expected = four_thousand
    sampler = core.Sampler(sizes(config), weights, isa=isa)
    found = []
    for begin, end in zip([0, 1, 2, 799, 800, 801, 2400, 2477], [1, 2, 799, 800, 801, 2400, 2477, 4000], strict=True):
        assert sampler.position == begin
        frames = condition[begin // config.pool : (end - 1) // config.pool + 1]
        found.append(sampler.sample(frames[None], uniforms[None, begin:end])[0])
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_lanes_are_independent_to_the_bit(isa):
    """What a lane gives does not depend on its neighbours, their number, or its place among them."""
    weights = random_weights(SMALL_DECODER)
    samples, lanes = 120, 11
    condition = np.stack([random_condition(SMALL_DECODER, samples, seed) for seed in range(lanes)])
    codes = np.stack([random_codes(samples, seed, classes=100) for seed in range(lanes)])
    together = core.Sampler(sizes(SMALL_DECODER), weights, lanes=lanes, threads=2, isa=isa).score(condition, codes)
    for lane in range(lanes):
        alone = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa).score(
            condition[lane : lane + 1], codes[lane : lane + 1]
        )
        np.testing.assert_array_equal(together[lane], alone[0])


def test_scoring_and_sampling_share_one_state(isa):
    weights = random_weights(SMALL_DECODER)
    codes, condition = random_codes(80, classes=100), random_condition(SMALL_DECODER, 160)
    uniforms = core.philox_uniforms(1, 0, 0, 80)
    reference = core.ReferenceSampler(sizes(SMALL_DECODER), weights)
    fast = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa)
    reference.score(condition[:3], codes)
    fast.score(condition[None, :3], codes[None])
    expected = reference.sample(condition[2:5], uniforms)
    np.testing.assert_array_equal(fast.sample(condition[None, 2:5], uniforms[None])[0], expected)


def test_logits_depend_on_the_past_only(isa):
    weights = random_weights(SMALL_DECODER)
    codes, condition = random_codes(100, classes=100), random_condition(SMALL_DECODER, 100)
    changed = codes.copy()
    changed[60] = (codes[60] + 50) % 100
    sampler = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa)
    before = sampler.score(condition[None], codes[None])[0]
    sampler.reset()
    after = sampler.score(condition[None], changed[None])[0]
    np.testing.assert_array_equal(before[:61], after[:61])
    assert (before[61] != after[61]).any()
    reach = SMALL_DECODER.receptive_field
    np.testing.assert_array_equal(before[60 + reach + 1 :], after[60 + reach + 1 :])
    assert (before[60 + reach] != after[60 + reach]).any()


@pytest.mark.parametrize("temperature", [0.0, 1e-9, 0.3, 1.0, 2.5])
def test_temperature(isa, temperature):
    weights = random_weights(SMALL_DECODER)
    condition, uniforms = random_condition(SMALL_DECODER, 300), core.philox_uniforms(2, 0, 0, 300)
    expected = core.ReferenceSampler(sizes(SMALL_DECODER), weights).sample(condition, uniforms, temperature)
    found = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa).sample(condition[None], uniforms[None], temperature)
    np.testing.assert_array_equal(found[0], expected)


def test_draws_follow_the_distribution():
    """Frequencies of many first draws against softmax of the first logits."""
    weights = random_weights(SMALL_DECODER)
    condition = random_condition(SMALL_DECODER, 1)
    lanes = 20_000
    sampler = core.Sampler(sizes(SMALL_DECODER), weights, lanes=lanes)
    uniforms = core.philox_uniforms(4, 0, 0, lanes).reshape(lanes, 1)
    draws = sampler.sample(repeated(condition, lanes), uniforms)
    logits = core.ReferenceSampler(sizes(SMALL_DECODER), weights).score(condition, np.zeros(1, np.uint8))[0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    counts = np.bincount(draws[:, 0], minlength=100)
    chi_square = ((counts - lanes * probabilities) ** 2 / (lanes * probabilities)).sum()
    assert chi_square < 160  # 99 degrees of freedom


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_extreme_uniforms_stay_in_range(isa, uniform):
    weights = random_weights(SMALL_DECODER)
    sampler = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa)
    codes = sampler.sample(random_condition(SMALL_DECODER, 50)[None], np.full((1, 50), uniform, np.float32))
    assert codes.max() < SMALL_DECODER.classes


def test_large_weights_give_no_nan(isa):
    weights = {name: array * 30 for name, array in random_weights(SMALL_DECODER).items()}
    sampler = core.Sampler(sizes(SMALL_DECODER), weights, isa=isa)
    logits = sampler.score(random_condition(SMALL_DECODER, 200)[None], random_codes(200, classes=100)[None])
    assert np.isfinite(logits).all()


def test_nothing_to_do(isa):
    sampler = core.Sampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER), lanes=3, isa=isa)
    codes = sampler.sample(np.zeros((3, 0, 5), np.float32), np.zeros((3, 0), np.float32))
    assert codes.shape == (3, 0)
    assert sampler.position == 0


@pytest.mark.parametrize(
    ("condition", "uniforms", "message"),
    [
        (np.zeros((1, 2, 5), np.float32), np.zeros((1, 10), np.float32), r"condition must have shape \(1, 1, 5\)"),
        (np.zeros((1, 1, 4), np.float32), np.zeros((1, 10), np.float32), "condition must have shape"),
        (np.zeros((1, 1, 5)), np.zeros((1, 10), np.float32), "condition must have dtype float32"),
        (np.zeros((1, 1, 5), np.float32), np.zeros((2, 10), np.float32), "uniforms must have shape"),
        (np.zeros((1, 1, 5), np.float32), np.ones((1, 10), np.float32), r"uniforms must lie in \[0, 1\)"),
        (np.zeros((1, 1, 5), np.float32), np.full((1, 10), np.nan, np.float32), "uniforms must lie"),
        (np.zeros((1, 1, 5), np.float32), np.zeros((1, 20), np.float32)[:, ::2], "uniforms must be C-contiguous"),
    ],
)
def test_arguments_are_checked(condition, uniforms, message):
    sampler = core.Sampler(sizes(SMALL_DECODER), random_weights(SMALL_DECODER))
    with pytest.raises((TypeError, ValueError), match=message):
        sampler.sample(condition, uniforms)
    assert sampler.position == 0


def test_options_are_checked():
    make = {"sizes": sizes(SMALL_DECODER), "weights": random_weights(SMALL_DECODER)}
    for wrong in ({"lanes": 0}, {"threads": 0}, {"isa": "none"}):
        with pytest.raises(ValueError, match=r"must be|unknown"):
            core.Sampler(**make, **wrong)
    sampler = core.Sampler(**make)
    arrays = np.zeros((1, 1, 5), np.float32), np.zeros((1, 1), np.float32)
    for temperature in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="temperature"):
            sampler.sample(*arrays, temperature)
    with pytest.raises(ValueError, match="codes must be below"):
        sampler.score(arrays[0], np.array([[100]], np.uint8))


def test_two_threads_on_one_sampler_are_refused():
    config = DecoderConfig(blocks=1, layers=8)
    sampler = core.Sampler(sizes(config), random_weights(config))
    samples = 4000
    condition, uniforms = random_condition(config, samples)[None], np.zeros((1, samples), np.float32)
    worker = threading.Thread(target=sampler.sample, args=(condition, uniforms))
    worker.start()
    refusals = []
    while worker.is_alive():
        try:
            sampler.sample(np.zeros((1, 0, config.condition_channels), np.float32), np.zeros((1, 0), np.float32))
        except RuntimeError as error:
            refusals.append(str(error))
    worker.join()
    assert refusals
    assert all("another thread" in message for message in refusals)
