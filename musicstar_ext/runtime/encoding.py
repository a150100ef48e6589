"""16 kHz audio -> code frames, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from .core import core
from .engine import device_errors
from .networks import EncoderNetwork
from .samples import Audio, Frames, reblock

BLOCK = 800  # samples a call into the core: short, so that Ctrl-C acts at once
GPU_BLOCK = 32_768  # the same for a GPU, which needs many rows at a time and encodes these in about a millisecond


def encode(
    blocks: Iterable[Audio], network: EncoderNetwork, progress: Callable[[float], None], block: int = BLOCK
) -> Iterator[Frames]:
    """Encode [n] float32 blocks into [F, C] code frames, one for every `pool` samples.

    The end is padded with silence to a whole frame. The frames do not depend on how the audio was cut into blocks, nor
    on `block`, the samples of a call. `progress` is told the number of samples of each call.
    """
    with device_errors(network.engine):
        encoder = network.encoder()
        count = 0
        for samples in reblock(blocks, block):
            count += len(samples)
            frames = encoder.push(core.mu_law_encode(np.ascontiguousarray(samples)))
            progress(len(samples))
            if len(frames):
                yield frames
        padding = -count % network.config.pool
        for start in range(0, padding, block):
            frames = encoder.push(core.mu_law_encode(np.zeros(min(block, padding - start), np.float32)))
            if len(frames):
                yield frames
        frames = encoder.finish()
        if len(frames):
            yield frames
