"""A set's tracks kept whole on the device, so that a crop costs an index and no copy from the processor's memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from musicstar_ext.data.crops import SILENCE, Crops, Spans, to_codes

SHARE = 0.5  # of the GPU's free memory that tracks may take; the rest is for the networks


class ResidentTracks:
    """Every track's pieces one after the other: codes as one byte a sample, audio as the 16-bit samples.

    Gives the same crops as `Crops.batch`, but for the twins, which are made from the samples.
    """

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self._codes = crops.kind == "codes"
        lengths = [len(piece) for piece in next(iter(crops.audio.values()))]
        self._lengths = torch.tensor(lengths, device=device)
        self._first = torch.tensor(np.cumsum([0, *lengths[:-1]]), device=device)
        self._offsets = torch.arange(crops.samples, device=device)
        self._tracks: dict[str, Tensor] = {}
        for track, pieces in crops.audio.items():
            dtype = torch.uint8 if self._codes else torch.int16
            kept = torch.empty((sum(lengths), *pieces[0].shape[1:]), dtype=dtype, device=device)
            for part, piece in zip(kept.split(lengths), pieces, strict=True):
                part.copy_(torch.from_numpy(to_codes(piece) if self._codes else np.array(piece)))
            self._tracks[track] = kept

    def crop(self, spans: Spans, tracks: Sequence[str], rows: slice) -> dict[str, Tensor]:
        """{track: codes [B, T], or float32 audio [B, channels, T]} of a batch's rows."""
        device = self._offsets.device
        pieces = torch.from_numpy(spans.pieces[rows]).to(device)
        places = torch.from_numpy(spans.starts[rows]).to(device)[:, None] + self._offsets  # in the piece, [B, T]
        inside = places < self._lengths[pieces][:, None]
        index = self._first[pieces][:, None] + torch.where(inside, places, 0)
        return {track: self._convert(self._tracks[track][index], inside) for track in tracks}

    def _convert(self, found: Tensor, inside: Tensor) -> Tensor:
        if self._codes:
            return torch.where(inside, found, SILENCE)
        audio = found.float() / 32768
        audio = audio[:, None] if audio.ndim == 2 else audio.transpose(1, 2).contiguous()
        return audio * inside[:, None]


def resident_if_it_fits(crops: Crops, device: torch.device) -> ResidentTracks | None:
    """The tracks on a GPU with enough free memory for them; None elsewhere, where the memory maps do as well."""
    if device.type != "cuda":
        return None
    width = 1 if crops.kind == "codes" else 2
    needed = sum(width * piece.size for pieces in crops.audio.values() for piece in pieces)
    free, _ = torch.cuda.mem_get_info(device)
    return ResidentTracks(crops, device) if needed <= SHARE * free else None
