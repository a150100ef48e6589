"""16 kHz audio -> code frames, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .core import core
from .networks import EncoderNetwork
from .samples import Audio, reblock

Frames = NDArray[np.float32]  # [F, C]

BLOCK = 800  # samples a call into the core: short, so that Ctrl-C acts at once


def encode(blocks: Iterable[Audio], network: EncoderNetwork, progress: Callable[[float], None]) -> Iterator[Frames]:
    """Encode [n] float32 blocks into [F, C] code frames, one for every `pool` samples.

    The end is padded with silence to a whole frame. The frames do not depend on how the audio was cut into blocks.
    `progress` is told the number of samples of each call.
    """
    encoder = network.encoder()
    count = 0
    for block in reblock(blocks, BLOCK):
        count += len(block)
        frames = encoder.push(core.mu_law_encode(np.ascontiguousarray(block)))
        progress(len(block))
        if len(frames):
            yield frames
    padding = -count % network.config.pool
    for start in range(0, padding, BLOCK):
        frames = encoder.push(core.mu_law_encode(np.zeros(min(BLOCK, padding - start), np.float32)))
        if len(frames):
            yield frames
    frames = encoder.finish()
    if len(frames):
        yield frames
