"""How a method is optimised: the settings that every method has. What is not in the paper is off by default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from musicstar_ext.errors import UserError

Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Initialisation = Literal["torch", "variance-preserving"]
Optimizer = Literal["adam", "muon"]


@dataclass(frozen=True)
class Recipe:
    """Optimisation, precision, limits and reporting of one training.

    An epoch is the number of steps whose crops are, together, as long as the training pieces. `steps`, where it is not
    0, takes the place of `epochs`; `max_minutes` ends a start of the command earlier.
    """

    batch: int = 16
    crop_seconds: float = 1.0
    epochs: int = 100
    seed: int = 0

    optimizer: Optimizer = "adam"
    learning_rate: float = 3e-4
    decay: float = 0.99  # of the learning rate, an epoch
    warmup_steps: int = 0  # the learning rate rises linearly over the first steps
    anneal_steps: int = 0  # and falls linearly to zero over the last ones
    micro_batch: int = 0  # crops that go through the networks at once; fewer than the batch need less memory
    clip_value: float = 0.0  # largest element of the gradient
    clip_norm: float = 0.0  # largest norm of the whole gradient
    ema: float = 0.0  # share that the running average of the weights keeps a step; the average is what is exported
    initialisation: Initialisation = "torch"
    init_from: str = ""  # a checkpoint whose networks, maybe narrower, are the start; or NETWORK=PATH,NETWORK=PATH

    device: Device = "auto"
    precision: Precision = "fp32"
    threads: int = 0

    steps: int = 0
    max_minutes: float = 0.0  # of this start of the command
    log_every: int = 50
    save_every: int = 500
    validate_every: int = 500
    validation_crops: int = 32

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "log_every", "save_every", "validate_every", "validation_crops"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and field.name not in ("learning_rate", "crop_seconds"):
                self._require(value >= 0, field.name, "at least 0")
        self._require(0 < self.learning_rate <= 1, "learning_rate", "above 0 and at most 1")
        self._require(0 < self.crop_seconds <= 600, "crop_seconds", "above 0 and at most 600 seconds")
        self._require(0 < self.decay <= 1, "decay", "above 0 and at most 1")
        self._require(self.ema < 1, "ema", "below 1")
        self._require(self.seed < 2**63, "seed", "below 2^63")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise UserError(f"{name} must be {rule}, not {getattr(self, name)}")

    def crop_samples(self, sample_rate: int, frame_samples: int) -> int:
        """Samples of a crop: the nearest to `crop_seconds` that are whole code frames, at least one."""
        return max(1, round(self.crop_seconds * sample_rate / frame_samples)) * frame_samples

    def last_step(self, steps_per_epoch: int) -> int:
        """The number of steps of the whole training, but for `max_minutes`."""
        return self.steps or self.epochs * steps_per_epoch

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step; it depends on nothing else, so a resumed training needs no scheduler state."""
        rate = self.learning_rate * self.decay ** (step // steps_per_epoch)
        if step < self.warmup_steps:
            rate *= (step + 1) / self.warmup_steps
        left = self.last_step(steps_per_epoch) - step
        if left < self.anneal_steps:
            rate *= left / self.anneal_steps
        return rate
