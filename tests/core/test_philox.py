from __future__ import annotations

import _musicstar_core as core
import numpy as np
import pytest


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as in the paper, in Python integers."""
    mask = 0xFFFFFFFF
    for _ in range(10):
        product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (product1 >> 32) ^ counter[1] ^ key[0],
            product1 & mask,
            (product0 >> 32) ^ counter[3] ^ key[1],
            product0 & mask,
        ]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return counter


def test_known_answer_of_the_paper():
    # Random123's known-answer file: counter and key all ones.
    ones = [0xFFFFFFFF] * 4
    assert philox_block(ones, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.parametrize(("seed", "lane"), [(0, 0), (1, 0), (2**40 + 3, 5), (7, 2**33)])
def test_uniforms_are_philox_words(seed, lane):
    expected = []
    for index in range(10, 31):
        block = index // 4
        counter = [block & 0xFFFFFFFF, block >> 32, lane & 0xFFFFFFFF, lane >> 32]
        word = philox_block(counter, [seed & 0xFFFFFFFF, seed >> 32])[index % 4]
        expected.append((word >> 8) / 2**24)
    np.testing.assert_array_equal(core.philox_uniforms(seed, lane, 10, 21), np.array(expected, np.float32))


def test_uniforms_are_uniform():
    uniforms = core.philox_uniforms(3, 1, 0, 100_000)
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    counts, _ = np.histogram(uniforms, 100, (0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 160  # chi-square with 99 degrees of freedom, p about 1e-4
