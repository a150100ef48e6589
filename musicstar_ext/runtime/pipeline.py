"""The way from 16 kHz recordings to 16 kHz translations, through all branches of a model at once.

    recording -> gain -> mu-law -> encoder -> code frames -> sampler -> mu-law decoded -> shaped     (one branch)

Branches that hear one recording with one encoder share its frames. The branches of a recording are summed; they run in
step, so that recordings of any length take bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from musicstar_ext.checkpoints import Branch

from .decoding import Decoder, Progress
from .encoding import BLOCK, GPU_BLOCK, encode
from .in_step import copies, in_step
from .lanes import lane_rules
from .networks import SAMPLE_RATE, Networks, work
from .samples import Audio, summed
from .shaping import shaped


def decode(
    networks: Networks,
    recordings: Mapping[str, Iterable[Audio]],
    gains: Mapping[str, float],
    seed: int,
    temperature: float,
    lanes: int,
    progress: Progress | None = None,
    guidance: float = 1.0,
    shaping: float = 0.0,
) -> Iterator[dict[str, Audio]]:
    """Translate the recording of each track, given as blocks, by all branches that hear it.

    Args:
        recordings: {track that branches hear: [n] float32 blocks at 16 kHz}; not necessarily all tracks.
        gains: {track: factor that brings it to the level that the model was trained at}.
        guidance: of every decoder; 1 decodes plainly.
        shaping: how far the output is brought to the spectrum that the code tells, 0 to 1; 0 for a model without one.
        progress: told the seconds of audio of every piece of work done; in all, the mean of the recordings' durations,
            weighted by the work that each makes.

    Yields:
        {track: [n] float32, the sum of its branches at the level they were trained at}; in all, for each track as many
        samples as its recording has. Tracks that have ended are left out.
    """
    branches = networks.branches_of(recordings)
    paths = list(dict.fromkeys((branch.source, branch.encoder) for branch in branches))
    times = 1 if guidance == 1 else 2  # that every lane is decoded
    total = sum(work(networks.encoders[encoder]) for _, encoder in paths)
    total += sum(times * work(networks.decoders[branch.decoder]) for branch in branches)

    def reporter(share: float) -> Progress:
        return lambda samples: progress(samples * share / SAMPLE_RATE) if progress else None

    streams: dict[Branch, Iterator[Audio]] = {}
    for track, recording in recordings.items():
        encoders = [encoder for source, encoder in paths if source == track]
        for name, blocks in zip(encoders, copies(recording, len(encoders)), strict=True):
            encoder = networks.encoders[name]
            heard = _Counted(blocks, gains[track])
            # One lane follows the recording closely: its frames are wanted as soon as they are certain.
            block = BLOCK if encoder.engine.gpu is None or lanes == 1 else GPU_BLOCK
            frames = encode(heard, encoder, reporter(work(encoder) / total), block)
            sharing = [branch for branch in branches if (branch.source, branch.encoder) == (track, name)]
            for branch, its_frames in zip(sharing, copies(frames, len(sharing)), strict=True):
                readers = copies(its_frames, 2 if shaping else 1)
                network = networks.decoders[branch.decoder]
                told = reporter(times * work(network) / total)
                decoder = Decoder(network, networks.branch_seed(branch, seed), temperature, told, guidance)
                if lanes == 1:
                    decoded = decoder.sequential(readers[0])
                else:
                    decoded = decoder.in_lanes(readers[0], lane_rules(lanes, network.config, SAMPLE_RATE))
                streams[branch] = _without_padding(decoded, heard)
                if shaping:
                    assert networks.spectrum is not None
                    streams[branch] = shaped(streams[branch], readers[1], networks.spectrum, shaping)
    for spans in in_step(streams):
        heard_in = dict.fromkeys(branch.source for branch in spans)
        yield {track: summed([spans[branch] for branch in spans if branch.source == track]) for track in heard_in}


class _Counted:
    """Blocks times a gain; `taken` counts their samples as they go by."""

    def __init__(self, blocks: Iterable[Audio], gain: float) -> None:
        self.blocks = blocks
        self.gain = np.float32(gain)
        self.taken = 0

    def __iter__(self) -> Iterator[Audio]:
        for block in self.blocks:
            self.taken += len(block)
            yield block * self.gain


def _without_padding(decoded: Iterable[Audio], heard: _Counted) -> Iterator[Audio]:
    """Cut what the last frame's padding became: a frame is decoded only when its samples, or the end, have come."""
    given = 0
    for block in decoded:
        kept = block[: heard.taken - given]
        given += len(kept)
        yield kept
