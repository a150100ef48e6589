"""The crops of each step as tensors on the device, prepared while the step before is computed.

Small enough sets are kept whole in the GPU's memory and cropped there; pitch-shifted twins and larger sets are cropped
by a thread of this process. Either way a batch is what `Crops.batch` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from musicstar_ext.data.crops import Crops

from .resident import ResidentTracks

AHEAD = 2  # batches that wait; each costs what a batch of crops takes


class Batches:
    """Batches in the order of the steps; use it as a context, which ends its thread.

    Args:
        tracks_at: the tracks that a step needs.
        rows: the part of each batch that this process takes.
        resident: the tracks on the device, where they fit.
    """

    def __init__(
        self,
        crops: Crops,
        device: torch.device,
        tracks_at: Callable[[int], Sequence[str]],
        rows: slice = slice(None),
        resident: ResidentTracks | None = None,
    ) -> None:
        self._crops, self._device, self._tracks_at, self._rows = crops, device, tracks_at, rows
        self._resident = resident
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: dict[int, Future[dict[str, Tensor]]] = {}

    def __enter__(self) -> Batches:
        self._thread = ThreadPoolExecutor(1, "crops")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread:
            self._thread.shutdown(cancel_futures=True)
        self._thread = None
        self._waiting.clear()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """The crops of a step: {track: [B, ...]}. The steps after it are then prepared."""
        ready = self._waiting.pop(step, None)
        if self._thread:
            self._waiting = {number: batch for number, batch in self._waiting.items() if number > step}
            for number in range(step + 1, step + 1 + AHEAD):
                if number not in self._waiting:
                    self._waiting[number] = self._thread.submit(self._prepare, number)
        batch = ready.result() if ready else self._prepare(step)
        batch = {track: tensor.to(self._device, non_blocking=True) for track, tensor in batch.items()}
        if self._resident:
            batch |= self._resident.crop(self._crops.spans(step), self._tracks_at(step), self._rows)
        return batch

    def _prepare(self, step: int) -> dict[str, Tensor]:
        """What is cropped here, in memory from which a GPU can copy by itself."""
        tracks = tuple(self._tracks_at(step))
        kept_there = tracks if self._resident else ()
        crops = self._crops.batch(step, tracks, self._rows, without=kept_there)
        batch = {track: torch.from_numpy(array) for track, array in crops.items()}
        return {track: tensor.pin_memory() for track, tensor in batch.items()} if self._on_gpu else batch

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"
