"""Guided samplers against the guided reference, and what guidance must never touch."""

from __future__ import annotations

import _musicstar_core as core
import numpy as np
import pytest
from random_networks import FP32_TOLERANCE, SMALL_DECODER, random_codes, random_condition, random_weights, sizes

SAMPLES = 120
LANES = 5
GUIDANCE = 2.3


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    found = random_weights(SMALL_DECODER)
    found["logits.weight"] *= 3  # a distribution with some shape
    for name in found:
        if name.endswith("condition.weight"):
            found[name] *= 2  # a code that is heard
    return found


@pytest.fixture(scope="module")
def condition() -> np.ndarray:
    return np.stack([random_condition(SMALL_DECODER, SAMPLES, seed) for seed in range(LANES)])


@pytest.fixture(scope="module")
def uniforms() -> np.ndarray:
    return np.stack([core.philox_uniforms(3, lane, 0, SAMPLES) for lane in range(LANES)])


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.stack([random_codes(SAMPLES, lane, classes=SMALL_DECODER.classes) for lane in range(LANES)])


def sampler(weights: dict[str, np.ndarray], **options: object) -> core.Sampler:
    return core.Sampler(sizes(SMALL_DECODER), weights, **{"guided": True, **options})


def reference(weights: dict[str, np.ndarray], guided: bool = True) -> core.ReferenceSampler:
    return core.ReferenceSampler(sizes(SMALL_DECODER), weights, guided)


@pytest.fixture(scope="module")
def expected_draws(weights, condition, uniforms) -> np.ndarray:
    draws = []
    for lane in range(LANES):
        draws.append(reference(weights).sample(condition[lane], uniforms[lane], 1.0, GUIDANCE))
        # No uniform so near to a border between two codes that single precision could not tell.
        logits = reference(weights).score(condition[lane], draws[-1], GUIDANCE).astype(np.float64)
        cumulative = np.cumsum(np.exp(logits - logits.max(1, keepdims=True)), axis=1)
        assert np.abs(cumulative / cumulative[:, -1:] - uniforms[lane][:, None]).min() > 2**-21
    return np.stack(draws)


def test_the_reference_mixes_two_decoders_with_one_past(weights, condition, codes):
    """The definition, restated: logits of the code, and of zeros, both with the same codes fed."""
    heard = reference(weights, guided=False).score(condition[0], codes[0]).astype(np.float64)
    unheard = reference(weights, guided=False).score(np.zeros_like(condition[0]), codes[0]).astype(np.float64)
    assert np.abs(heard - unheard).mean() > 0.3
    for guidance in (0.0, 0.5, 1.0, 2.0, 10.0):
        mixed = unheard + guidance * (heard - unheard)
        np.testing.assert_allclose(reference(weights).score(condition[0], codes[0], guidance), mixed, atol=1e-4)


@pytest.mark.parametrize(("lanes", "threads"), [(1, 1), (1, 2), (2, 1), (2, 2), (5, 1), (5, 2)])
def test_draws_equal_the_reference(isa, weights, condition, uniforms, expected_draws, lanes, threads):
    fast = sampler(weights, lanes=lanes, threads=threads, isa=isa)
    found = fast.sample(condition[:lanes], uniforms[:lanes], 1.0, GUIDANCE)
    np.testing.assert_array_equal(found, expected_draws[:lanes])
    assert fast.guided
    assert not fast.is_split
    assert fast.lanes == lanes


@pytest.mark.parametrize("guidance", [0.0, 1.0, GUIDANCE, 10.0])
def test_logits_equal_the_reference(isa, weights, condition, codes, guidance):
    expected = np.stack([reference(weights).score(condition[i], codes[i], guidance) for i in range(2)])
    found = sampler(weights, lanes=2, isa=isa).score(condition[:2], codes[:2], guidance)
    np.testing.assert_allclose(found, expected, atol=FP32_TOLERANCE * (1 + 2 * guidance))


@pytest.mark.parametrize("lanes", [1, 5])
def test_pieces_equal_the_whole(isa, weights, condition, uniforms, expected_draws, lanes):
    fast = sampler(weights, lanes=lanes, threads=2, isa=isa)
    pool, found = SMALL_DECODER.pool, []
    for begin, end in zip([0, 1, 36, 37, 75], [1, 36, 37, 75, SAMPLES], strict=True):
        frames = np.ascontiguousarray(condition[:lanes, begin // pool : (end - 1) // pool + 1])
        piece = np.ascontiguousarray(uniforms[:lanes, begin:end])
        found.append(fast.sample(frames, piece, 1.0, GUIDANCE))
    np.testing.assert_array_equal(np.concatenate(found, axis=1), expected_draws[:lanes])
    assert fast.position == SAMPLES
    fast.reset()
    np.testing.assert_array_equal(
        fast.sample(condition[:lanes], uniforms[:lanes], 1.0, GUIDANCE), expected_draws[:lanes]
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_guidance_1_and_0_are_the_heard_and_the_unheard_decoder(isa, weights, condition, uniforms, codes, precision):
    """To the bit: the mixture is exactly one of the two there."""
    for guidance, heard in ((1.0, condition), (0.0, np.zeros_like(condition))):
        plain = core.Sampler(sizes(SMALL_DECODER), weights, lanes=LANES, isa=isa, precision=precision)
        fast = sampler(weights, lanes=LANES, isa=isa, precision=precision)
        np.testing.assert_array_equal(fast.score(condition, codes, guidance), plain.score(heard, codes))
        plain.reset()
        fast.reset()
        np.testing.assert_array_equal(
            fast.sample(condition, uniforms, 1.0, guidance), plain.sample(heard, uniforms, 1.0)
        )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_lanes_are_independent_to_the_bit(isa, weights, condition, codes, precision):
    options = {"isa": isa, "precision": precision}
    together = sampler(weights, lanes=LANES, threads=2, **options).score(condition, codes, GUIDANCE)
    for lane in range(LANES):
        one = slice(lane, lane + 1)
        alone = sampler(weights, **options).score(condition[one], codes[one], GUIDANCE)
        np.testing.assert_array_equal(together[one], alone)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.15), ("int8", 0.3)])
def test_rounded_precisions_come_near(isa, weights, condition, codes, precision, tolerance):
    expected = reference(weights).score(condition[0], codes[0], GUIDANCE)
    found = sampler(weights, isa=isa, precision=precision).score(condition[:1], codes[:1], GUIDANCE)[0]
    assert np.sqrt(np.square(found - expected).mean()) < tolerance * np.std(expected)


def test_guidance_may_change_between_calls(isa, weights, condition, uniforms):
    slow, fast = reference(weights), sampler(weights, isa=isa)
    pool = SMALL_DECODER.pool
    for frame, guidance in enumerate((1.0, 4.0, 0.0)):
        at = slice(frame * pool, (frame + 1) * pool)
        frames = condition[0, frame : frame + 1]
        expected = slow.sample(frames, uniforms[0, at], 1.0, guidance)
        np.testing.assert_array_equal(fast.sample(frames[None], uniforms[:1, at], 1.0, guidance)[0], expected)


def test_temperature_0_takes_the_likeliest_of_the_mixture(isa, weights, condition, uniforms):
    expected = reference(weights).sample(condition[0], uniforms[0], 0.0, GUIDANCE)
    found = sampler(weights, isa=isa).sample(condition[:1], uniforms[:1], 0.0, GUIDANCE)
    np.testing.assert_array_equal(found[0], expected)


def test_large_weights_give_codes_in_range(isa, condition, uniforms):
    large = {name: array * 30 for name, array in random_weights(SMALL_DECODER).items()}
    drawn = sampler(large, lanes=LANES, isa=isa).sample(condition, uniforms, 1.0, 10.0)
    assert drawn.max() < SMALL_DECODER.classes


@pytest.mark.parametrize("guidance", [-0.1, 10.1, np.nan, np.inf, -np.inf])
def test_hostile_guidance(weights, condition, uniforms, codes, guidance):
    fast, slow = sampler(weights), reference(weights)
    with pytest.raises(ValueError, match="guidance must be between 0 and 10, not"):
        fast.sample(condition[:1], uniforms[:1], 1.0, guidance)
    with pytest.raises(ValueError, match="guidance must be between 0 and 10, not"):
        fast.score(condition[:1], codes[:1], guidance)
    with pytest.raises(ValueError, match="guidance must be between 0 and 10, not"):
        slow.sample(condition[0], uniforms[0], 1.0, guidance)
    assert fast.position == 0
    with pytest.raises(TypeError):
        fast.sample(condition[:1], uniforms[:1], 1.0, "much")


def test_a_plain_sampler_takes_no_guidance(weights, condition, uniforms, codes):
    plain = sampler(weights, guided=False)
    assert not plain.guided
    for call in (
        lambda: plain.sample(condition[:1], uniforms[:1], 1.0, 1.5),
        lambda: plain.score(condition[:1], codes[:1], 0.0),
        lambda: reference(weights, guided=False).sample(condition[0], uniforms[0], 1.0, 1.5),
    ):
        with pytest.raises(ValueError, match="guidance other than 1 needs a sampler made with guided=True"):
            call()


def test_nothing_to_do(isa, weights):
    fast = sampler(weights, lanes=3, isa=isa)
    nothing = fast.sample(np.zeros((3, 0, 5), np.float32), np.zeros((3, 0), np.float32), 1.0, 2.0)
    assert nothing.shape == (3, 0)
    assert fast.position == 0
