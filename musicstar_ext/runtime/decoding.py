"""Code frames -> 16 kHz audio with the native sampler: sequentially, or in lanes by the plan of `runtime.lanes`.

Sample t of a lane is drawn with uniform number t of the Philox stream (seed, lane); lanes are numbered by their
segment. So the result depends on the seed and the plan, never on threads, on how calls are cut, or on which lanes run
side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .core import core
from .engine import device_errors
from .lanes import LaneRules, Segment, plan_group
from .networks import DecoderNetwork
from .samples import Audio, Frames

Codes = NDArray[np.uint8]
Progress = Callable[[float], None]

CALL = 1024  # samples a thread decodes in one call: short, so that Ctrl-C acts at once
SHORTEST_CALL = 16  # steps: of fewer, the call itself would cost
GPU_CALL = 8_000  # steps of all lanes in one call to a GPU, which looks for Ctrl-C by itself


class Decoder:
    """Decodes one recording; holds the settings, while the samplers' state lives in each run.

    Args:
        network: the decoder and the engine.
        seed: of the uniform numbers, 0 <= seed < 2^64.
        temperature: of the draws; 0 takes the most likely code.
        guidance: 1 decodes plainly; another one (0 to 10) decodes each lane with and without its code.
        progress: told the number of samples of each piece of work done, in all the number of samples decoded and kept.
    """

    def __init__(
        self,
        network: DecoderNetwork,
        seed: int,
        temperature: float,
        progress: Callable[[float], None],
        guidance: float = 1.0,
    ) -> None:
        self.network = network
        self.pool = network.config.pool
        self.seed = seed
        self.temperature = temperature
        self.guidance = guidance
        self.guided = guidance != 1
        self.progress = progress
        # Frames whose samples are drawn together.
        self.span = 1 if network.engine.gpu is None else max(1, GPU_CALL // self.pool)

    def sequential(self, blocks: Iterable[Frames]) -> Iterator[Audio]:
        """Exactly the plain equations: one lane from the first sample to the last.

        Shape: blocks of [F, C] -> blocks of [pool].
        """
        sampler = self.network.sampler(1, self.guided)
        for frames in blocks:
            for start in range(0, len(frames), self.span):
                condition = frames[start : start + self.span]
                codes = self._draw(sampler, condition[None], 0, len(condition) * self.pool)
                self.progress(codes.shape[1])
                yield core.mu_law_decode(codes[0])

    def in_lanes(self, blocks: Iterable[Frames], rules: LaneRules) -> Iterator[Audio]:
        """Several lanes at once, group by group; segments are cross-faded.

        Shape: blocks of [F, C] -> blocks that together hold pool samples a frame.
        """
        waiting: list[Frames] = []  # from frame `origin` on
        origin = start = ready = number = 0  # `start`: the next group; `ready`: frames that have come
        fade: Audio = np.zeros(0, np.float32)  # the last segment's end, to be blended with the next one's start

        def decode(frames: int, followed: bool) -> Iterator[Audio]:
            nonlocal number, fade
            segments = plan_group(rules, number, start, frames, followed)
            number += len(segments)
            for segment, codes in zip(segments, self._group(segments, np.concatenate(waiting), origin), strict=True):
                audio = core.mu_law_decode(np.ascontiguousarray(codes[segment.warm_up * rules.pool :]))
                audio[: len(fade)] = cross_fade(fade, audio[: len(fade)])
                length = (segment.stop - segment.start) * rules.pool
                fade = audio[length:]
                yield audio[:length]

        for frames in blocks:
            waiting.append(frames)
            ready += len(frames)
            while ready - start >= rules.group + rules.look_ahead:
                yield from decode(rules.group, followed=True)
                start += rules.group
                kept = max(0, start - rules.warm_up)
                waiting, origin = [np.concatenate(waiting)[kept - origin :]], kept
        if ready > start:
            yield from decode(ready - start, followed=False)

    def _group(self, segments: list[Segment], frames: Frames, origin: int) -> list[Codes]:
        """Decode segments side by side from zero state -> the [steps] codes of each; `frames` starts at frame `origin`.

        Lanes that are done before the longest one idle on with their last frame; what they draw is dropped.
        """
        pool, span = self.pool, self.span
        steps = [segment.steps(pool) for segment in segments]
        longest = max(steps)
        first = np.array([segment.first for segment in segments]) - origin
        last = first + np.array([-(-count // pool) for count in steps]) - 1
        kept = sum(segment.stop - segment.start for segment in segments) * pool
        sampler = self.network.sampler(len(segments), self.guided)
        codes = np.empty((len(segments), longest), np.uint8)
        for position in range(0, longest, pool * span):
            count = min(pool * span, longest - position)
            coming = first[:, None] + np.arange(position // pool, -(-(position + count) // pool))
            condition = frames[np.minimum(coming, last[:, None])]
            codes[:, position : position + count] = self._draw(sampler, condition, segments[0].number, count)
            self.progress(kept * count / longest)
        return [lane[:count] for lane, count in zip(codes, steps, strict=True)]

    def _draw(
        self, sampler: core.Sampler | core.CudaSampler, condition: Frames, first_number: int, count: int
    ) -> Codes:
        """The next `count` samples of all lanes: [B, F, C], F frames in `span` -> [B, count].

        Lanes are numbered from `first_number` on.
        """
        condition = np.ascontiguousarray(condition)
        engine = self.network.engine
        how = (self.temperature, self.guidance)
        if engine.gpu is not None:
            assert isinstance(sampler, core.CudaSampler)
            with device_errors(engine):
                return sampler.draw(condition, count, self.seed, first_number, *how)
        assert isinstance(sampler, core.Sampler)
        numbers = range(first_number, first_number + len(condition))
        uniforms = np.stack([core.philox_uniforms(self.seed, number, sampler.position, count) for number in numbers])
        call = max(SHORTEST_CALL, CALL * engine.threads // len(numbers))
        drawn = [
            sampler.sample(condition, np.ascontiguousarray(uniforms[:, start : start + call]), *how)
            for start in range(0, count, call)
        ]
        return np.concatenate(drawn, axis=1)


def cross_fade(ending: Audio, beginning: Audio) -> Audio:
    """Blend [n] with [n] so that neither energy nor equal signals change: with w rising from 0 to 1,

    ((1 - w) ending + w beginning) / sqrt((1 - w)^2 + w^2 + 2 similarity w (1 - w))

    Two lanes draw different waveforms of one sound. Mixed linearly they lose 3 dB halfway (docs/lanes.md); divided by
    the root, which is 1 for equal signals, they keep their energy. `similarity` is 2 <a, b> / (<a, a> + <b, b>), at
    least 0. Peaks are clipped to full scale.
    """
    a, b = ending.astype(np.float64), beginning.astype(np.float64)
    energy = float(a @ a + b @ b)
    similarity = max(0.0, 2 * float(a @ b) / energy) if energy else 1.0
    rising = (np.arange(len(a)) + 0.5) / max(1, len(a))
    blended = (a + rising * (b - a)) / np.sqrt(1 - 2 * (1 - similarity) * rising * (1 - rising))
    return np.clip(blended, -1, 1).astype(np.float32)
