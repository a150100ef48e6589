"""Every method as a tiny model, with untrained checkpoints of those that it builds on, and random crops for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.methods import METHODS, Method
from musicstar_ext.training.stages import untrained

POOL = 10
DOMAINS = {"winds": ["oboe", "horn", "keys"], "strings": ["viola", "bass", "harp"]}
ENCODER = EncoderConfig(blocks=1, layers=2, channels=6, code_channels=3, pool=POOL)
UNIVERSAL = dataclasses.replace(ENCODER, kind="universal")
DECODER = DecoderConfig(blocks=1, layers=2, residual_channels=6, skip_channels=5, condition_channels=3, pool=POOL)
SIZES: dict[str, dict[str, Any]] = {
    "universal-network": {"encoder": UNIVERSAL, "decoder": DECODER},
    "single-instrument": {},
    "embedding-supervised": {"encoder": ENCODER},
    "stem-supervised": {"encoder": ENCODER, "decoder": DECODER},
    "mixture-supervised": {"encoder": ENCODER, "decoder": DECODER},
}


def build(name: str, folder: Path, domains: Mapping[str, Sequence[str]] = DOMAINS, **settings: Any) -> Any:
    """A method's model, seeded; checkpoints that `settings` do not name are made in the folder."""
    method = METHODS[name]
    for field, required in method.requires.items():
        if field not in settings:
            settings[field] = save(build(required, folder, domains), folder / f"{field}.safetensors")
    torch.manual_seed(0)
    return method(method.config_type(**{**SIZES[name], **settings}), domains)


def save(model: Method, path: Path, **changes: Any) -> str:
    """Write a model's checkpoint, with `changes` to its fields; returns its path."""
    checkpoints.save(dataclasses.replace(untrained(model, 16_000), **changes), path)
    return str(path)


def crops(
    model: Method, tracks: Sequence[str] | None = None, batch: int = 2, samples: int = 4 * POOL
) -> dict[str, Tensor]:
    """Random codes for tracks (None: all of the model's), and for their pitch-shifted twins."""
    random = torch.Generator().manual_seed(1)
    wanted = list(model.tracks if tracks is None else tracks)
    wanted += [f"{track} augmented" for track in wanted if track in model.augmented_tracks]
    return {track: torch.randint(0, 256, (batch, samples), generator=random, dtype=torch.uint8) for track in wanted}


def nats(logits: Tensor, codes: Tensor) -> float:
    """Cross-entropy, written another way and in double: the mean of log sum exp minus the logit of what came."""
    logits = logits.double()
    came = logits.gather(1, codes.long().unsqueeze(1)).squeeze(1)
    return (logits.exp().sum(dim=1).log() - came).mean().item()
