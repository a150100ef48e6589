"""A call into the core keeps no other Python thread waiting: the interpreter's lock is released while it computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import _musicstar_core as core
import numpy as np
import pytest
from random_networks import random_codes, random_condition, random_weights, sizes

from musicstar_ext.architecture import DecoderConfig, EncoderConfig

SAMPLES = 5000
ENCODER = EncoderConfig(blocks=1, layers=8)
DECODER = DecoderConfig(blocks=1, layers=8)
SHORT_DECODER = DecoderConfig(blocks=1, layers=2, residual_channels=64, skip_channels=64)


def push() -> Callable[[], object]:
    encoder = core.Encoder(sizes(ENCODER), random_weights(ENCODER))
    return lambda: encoder.push(random_codes(SAMPLES))


def finish() -> Callable[[], object]:
    config = EncoderConfig(blocks=1, layers=14)  # sees 16,384 samples ahead: so most of the work is left for the end
    encoder = core.Encoder(sizes(config), random_weights(config))
    encoder.push(random_codes(SAMPLES))
    return encoder.finish


def sample() -> Callable[[], object]:
    sampler = core.Sampler(sizes(DECODER), random_weights(DECODER))
    condition, uniforms = random_condition(DECODER, SAMPLES), core.philox_uniforms(1, 0, 0, SAMPLES)
    return lambda: sampler.sample(condition[None], uniforms[None])


def score() -> Callable[[], object]:
    sampler = core.Sampler(sizes(DECODER), random_weights(DECODER))
    return lambda: sampler.score(random_condition(DECODER, SAMPLES)[None], random_codes(SAMPLES)[None])


def reference_sample() -> Callable[[], object]:
    sampler = core.ReferenceSampler(sizes(SHORT_DECODER), random_weights(SHORT_DECODER))
    condition, uniforms = random_condition(SHORT_DECODER, 2000), core.philox_uniforms(1, 0, 0, 2000)
    return lambda: sampler.sample(condition, uniforms)


def reference_encode() -> Callable[[], object]:
    config = EncoderConfig(blocks=1, layers=2, channels=64)
    return lambda: core.ReferenceEncoder(sizes(config), random_weights(config)).encode(random_codes(3000))


@pytest.mark.parametrize("prepare", [push, finish, sample, score, reference_sample, reference_encode])
def test_other_threads_run_during_a_call(prepare: Callable[[], Callable[[], object]]) -> None:
    call = prepare()
    ticks = []
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    counter = threading.Thread(target=count)
    counter.start()
    begin = time.perf_counter()
    call()
    end = time.perf_counter()
    stop.set()
    counter.join()
    assert end - begin > 0.02, "too short a call to tell"
    inside = np.array([begin, *(tick for tick in ticks if begin < tick < end), end])
    # With the lock held, nothing ticks from the call's first moment to its last.
    assert np.diff(inside).max() < 0.5 * (end - begin)
