import dataclasses

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.nn import to_checkpoint_weights
from musicstar_ext.separation import Separator, load_separator
from musicstar_ext.separation.network import SeparatorNetwork

CONFIG = SeparatorConfig(channels=4, depth=2, lstm_layers=1, sources=("a", "b"), audio_channels=1, sample_rate=1000)


def checkpoint_of(network: SeparatorNetwork, method: str = "demucs") -> Checkpoint:
    weights = {"separator": to_checkpoint_weights(network)}
    return Checkpoint(method, {"separator": network.config}, weights, {"source": "both"}, (), {})


@pytest.fixture(scope="module")
def network() -> SeparatorNetwork:
    torch.manual_seed(0)
    return SeparatorNetwork(CONFIG)


@pytest.fixture(scope="module")
def separator(network: SeparatorNetwork) -> Separator:
    return load_separator(checkpoint_of(network), device="cpu", threads=1, segment_seconds=0.2)


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((samples, channels))).astype(np.float32)


def whole(separator: Separator, blocks: list[np.ndarray]) -> dict[str, np.ndarray]:
    parts = list(separator.separate(blocks))
    assert all(tuple(part) == separator.stems for part in parts)
    assert all(audio.dtype == np.float32 and audio.ndim == 1 for part in parts for audio in part.values())
    return {stem: np.concatenate([part[stem] for part in parts]) for stem in separator.stems}


def network_on(network: SeparatorNetwork, audio: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(audio.T.copy()[None]))[0].mean(dim=1).numpy()


def test_what_it_says_of_itself(separator):
    assert (separator.sample_rate, separator.channels, separator.stems) == (1000, 1, ("a", "b"))
    assert CONFIG.valid_length(separator.segment) == separator.segment <= 200


@pytest.mark.parametrize("part", ["whole", "shorter", "one sample"])
def test_a_single_segment_is_the_networks_output(network, separator, part):
    samples = {"whole": separator.segment, "shorter": separator.segment - 77, "one sample": 1}[part]
    audio = noise(samples)
    for stem, expected in zip(whole(separator, [audio]).values(), network_on(network, audio), strict=True):
        np.testing.assert_allclose(stem, expected, atol=1e-6)


def test_many_segments_are_cross_faded_linearly(network, separator):
    """Stated anew: every segment's output, weighted with a ramp where it meets its neighbours, summed."""
    segment, overlap = separator.segment, separator.overlap
    samples, stride = 3 * segment + 41, segment - overlap
    audio = noise(samples)
    starts = [start for start in range(0, samples, stride) if start == 0 or start + overlap < samples]
    expected = np.zeros((2, samples))
    total = np.zeros(samples)
    ramp = np.arange(1, overlap + 1) / (overlap + 1)
    for number, start in enumerate(starts):
        stems = network_on(network, audio[start : start + segment])
        weight = np.ones(stems.shape[1])
        if number > 0:
            weight[:overlap] = ramp
        if number + 1 < len(starts):
            weight[-overlap:] = ramp[::-1]
        expected[:, start : start + segment] += weight * stems
        total[start : start + segment] += weight
    np.testing.assert_allclose(total, 1.0)
    found = whole(separator, [audio])
    np.testing.assert_allclose(np.stack(list(found.values())), expected, atol=1e-6)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2])
@pytest.mark.parametrize("segments", [0, 1, 2])
def test_as_many_samples_come_out_as_go_in(separator, segments, beyond):
    stride = separator.segment - separator.overlap
    for samples in {max(0, segments * stride + beyond), max(0, segments * stride + separator.overlap + beyond)}:
        blocks = [noise(samples)]
        parts = list(separator.separate(blocks))
        assert sum(len(part["a"]) for part in parts) == sum(len(part["b"]) for part in parts) == samples


@pytest.mark.parametrize("cut", [1, 13, 150, 10_000])
def test_blocks_make_no_difference(separator, cut):
    audio = noise(613)
    one = whole(separator, [audio])
    cuts = [audio[start : start + cut] for start in range(0, len(audio), cut)]
    other = whole(separator, [audio[:0], *cuts, audio[:0]])
    assert all(np.array_equal(one[stem], other[stem]) for stem in one)


def test_output_comes_before_the_input_ends(separator):
    """Bounded memory: a segment is given out as soon as it is heard."""
    given, taken = 0, 0

    def blocks():
        nonlocal taken
        for _ in range(100):
            taken += 50
            yield noise(50)
            assert taken - given <= separator.segment + 50

    for part in separator.separate(blocks()):
        given += len(part["a"])
    assert given == taken == 5000


def test_nothing_in_nothing_out(separator):
    assert list(separator.separate([])) == list(separator.separate([noise(0)])) == []


def test_one_channel_is_heard_on_both_and_stems_are_their_mean():
    torch.manual_seed(0)
    network = SeparatorNetwork(dataclasses.replace(CONFIG, audio_channels=2))
    separator = load_separator(checkpoint_of(network), device="cpu", segment_seconds=0.2)
    audio = noise(100)
    from_one, flat = whole(separator, [audio]), whole(separator, [audio[:, 0]])
    both = np.repeat(audio, 2, axis=1)
    for number, stem in enumerate(separator.stems):
        np.testing.assert_allclose(from_one[stem], network_on(network, both)[number], atol=1e-6)
        assert np.array_equal(from_one[stem], flat[stem])
    stereo = noise(100, channels=2)
    np.testing.assert_allclose(whole(separator, [stereo])["b"], network_on(network, stereo)[1], atol=1e-6)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (noise(10, channels=2), "hears 1 channels"),
        (np.zeros((2, 3, 1), np.float32), "hears 1 channels"),
        (np.full((10, 1), np.nan, np.float32), "not finite"),
    ],
)
def test_blocks_that_cannot_be_heard(separator, block, problem):
    with pytest.raises(UserError, match=problem):
        list(separator.separate([block]))


def test_threads_are_given_back(network):
    before = torch.get_num_threads()
    separator = load_separator(checkpoint_of(network), device="cpu", threads=before + 1)
    list(separator.separate([noise(10)]))
    assert torch.get_num_threads() == before


def test_a_checkpoint_without_a_separator(tiny_checkpoint):
    with pytest.raises(UserError, match="mixture-supervised checkpoint has no separator"):
        load_separator(tiny_checkpoint)


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_unusable_devices(network, device):
    with pytest.raises(UserError, match="device"):
        load_separator(checkpoint_of(network), device=device)


def test_unusable_segments(network):
    with pytest.raises(UserError, match="segment"):
        load_separator(checkpoint_of(network), segment_seconds=0)
