"""Separation of recordings of any length in bounded memory.

    segment 0   |=============\\
    segment 1            /=============\\          each starts `stride` after the one before it;
    segment 2                     /=========|     where two overlap, a linear cross-fade

The network runs over segments of a few seconds that overlap by a quarter, as `demucs.apply` does. The last one is as
long as what is left. Where segments begin depends on the recording alone, so neither does the output depend on how the
input is cut into blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import UserError

from .network import SeparatorNetwork

NETWORK = "separator"  # its name in a checkpoint
SEGMENT_SECONDS = 10.0
OVERLAP = 0.25  # share of a segment that it has in common with the next


class Separator:
    """A trained separator on its device.

    The network hears samples as they are: bring a recording to the level that it was trained at (the checkpoint's
    `levels` of the source domain) before separating it.

    Attributes:
        sample_rate: hertz, of what it hears and gives.
        channels: of what it hears, 1 or 2.
        stems: names of what it gives.
        segment, overlap: samples that the network hears at once, and those that two neighbours share.
    """

    def __init__(
        self, network: SeparatorNetwork, device: str = "cpu", threads: int = 0, segment_seconds: float = SEGMENT_SECONDS
    ) -> None:
        config = network.config
        self.sample_rate: int = config.sample_rate
        self.channels: int = config.audio_channels
        self.stems: tuple[str, ...] = config.sources
        self.segment = config.longest_valid_length(max(4, round(segment_seconds * config.sample_rate)))
        self.overlap = int(OVERLAP * self.segment)
        self._network = network.to(device).eval()
        self._device, self._threads = device, threads

    def separate(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Separate a stream.

        Args:
            blocks: [n, channels] each, or [n] for one channel; of any length, also 0; full scale at 1. One channel
                is heard on both by a network of two.

        Yields:
            {stem: mono [m]}, the mean of its channels; over the whole stream as many samples as came in.

        Raises:
            UserError: a block has another number of channels, or holds values that are not finite.
        """
        stride = self.segment - self.overlap
        held = np.empty((self.channels, 0), np.float32)  # what the coming segment has heard so far
        tail: NDArray[np.float32] | None = None  # [stems, overlap]: the end of the last segment, not given out yet
        for block in blocks:
            held = np.concatenate([held, self._checked(block)], axis=1)
            while held.shape[1] >= self.segment:
                given = self._cross_faded(tail, self._run(held[:, : self.segment]))
                yield self._named(given[:, :stride])
                tail, held = given[:, stride:], held[:, stride:]
        if tail is not None and held.shape[1] == self.overlap:
            yield self._named(tail)
        elif held.shape[1]:
            yield self._named(self._cross_faded(tail, self._run(held)))

    def _checked(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """A block as [channels, n] float32."""
        audio = np.asarray(block, np.float32)
        audio = audio[np.newaxis] if audio.ndim == 1 else audio.T
        if audio.ndim != 2 or audio.shape[0] not in (1, self.channels):
            raise UserError(f"the separator hears {self.channels} channels, not blocks of shape {np.shape(block)}")
        if not np.isfinite(audio).all():
            raise UserError("the audio to separate holds values that are not finite")
        return np.broadcast_to(audio, (self.channels, audio.shape[1]))

    def _run(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network on one segment: [channels, n] -> [stems, n]."""
        with torch.inference_mode(), _torch_threads(self._threads):
            mixture = torch.from_numpy(np.ascontiguousarray(audio)).unsqueeze(0).to(self._device)
            stems: NDArray[np.float32] = self._network(mixture)[0].mean(dim=1).float().cpu().numpy()
        return stems

    def _cross_faded(self, tail: NDArray[np.float32] | None, stems: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fade from the end of the segment before into this one; [stems, n]."""
        if tail is not None and self.overlap:
            rising = np.arange(1, self.overlap + 1, dtype=np.float32) / np.float32(self.overlap + 1)
            head = stems[:, : self.overlap]
            stems = np.concatenate([tail + rising * (head - tail), stems[:, self.overlap :]], axis=1)
        return stems

    def _named(self, stems: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {name: np.ascontiguousarray(samples) for name, samples in zip(self.stems, stems, strict=True)}


def load_separator(
    checkpoint: Checkpoint, device: str = "auto", threads: int = 0, segment_seconds: float = SEGMENT_SECONDS
) -> Separator:
    """The separator of a checkpoint.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        threads: of torch while it separates, 0 for torch's own choice.
        segment_seconds: what the network hears at once; longer needs more memory.

    Raises:
        UserError: the checkpoint has none, or the device is not there.
        MissingExtraError: `demucs` is not installed.
    """
    config = checkpoint.networks.get(NETWORK)
    if not isinstance(config, SeparatorConfig):
        raise UserError(f"a {checkpoint.method} checkpoint has no separator")
    if not 0 < segment_seconds <= 600:
        raise UserError(f"a segment must be above 0 and at most 600 seconds, not {segment_seconds}")
    network = SeparatorNetwork(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights[NETWORK].items()})
    return Separator(network, _device(device), threads, segment_seconds)


def torch_device(name: str) -> str:
    """A device that the core runs on (cpu, cuda:N), or "cpu" where torch does not have it."""
    _, _, index = name.partition(":")
    return name if name != "cpu" and int(index or 0) < torch.cuda.device_count() else "cpu"


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise UserError(f"the device must be auto, cpu, cuda or cuda:N, not {name!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"the device is {name}, but torch finds {torch.cuda.device_count()} usable GPUs")
    return name


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Torch on `count` threads, 0 for as many as it has, and as before afterwards."""
    before = torch.get_num_threads()
    if count and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
