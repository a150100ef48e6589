"""The training loop, the same for every method: steps, validation, checkpoints, reports.

Everything that a step depends on is in the state that is saved (weights, optimizer, average, random state) or a
function of the step (crops, learning rate), so a resumed training repeats the uninterrupted one bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.checkpoints import load as load_checkpoint
from musicstar_ext.data.crops import Crops
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.methods import Method, Recipe
from musicstar_ext.nn import load_weights, to_checkpoint_weights

from .logging import Report, TrainingLog
from .optimizers import Optimizers
from .options import to_flat
from .run_folder import RunFolder, State
from .stopping import StopRequest
from .weight_average import WeightAverage

VALIDATION_SEED = 0  # of the crops: the same in every run, so that runs compare


class Training:
    """One run of a method on a prepared set; `recipe` is the method's config."""

    def __init__(self, method: type[Method], recipe: Recipe, prepared: PreparedSet, folder: RunFolder) -> None:
        self.recipe, self.folder, self._prepared = recipe, folder, prepared
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.device = _device(recipe.device)
        torch.manual_seed(recipe.seed)
        self.model = model = method(recipe, prepared.domains).to(self.device)

        samples = recipe.crop_samples(prepared.sample_rate, model.frame_samples)
        self._crops = Crops(prepared, "train", model.tracks, samples, recipe.batch, recipe.seed)
        self._held_out = Crops(prepared, "validation", model.tracks, samples, recipe.batch, VALIDATION_SEED)
        self._samples_per_step = recipe.batch * samples
        self.steps_per_epoch = math.ceil(self._crops.total_samples / self._samples_per_step)
        self.last_step = recipe.last_step(self.steps_per_epoch)

        self._optimizer = Optimizers(model, recipe)
        self._average = WeightAverage(model, recipe.ema)
        self.step = 0
        self.seconds = 0.0  # of training, in all starts of the run
        self.losses = {"training": math.nan, "validation": math.nan, "best_validation": math.inf}
        self._window = [0.0, 0]  # sum and number of the losses since the last report

    # ---- where the weights start -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Initialise the weights, or take them from the `init_from` checkpoint.

        Raises:
            UserError: that checkpoint cannot be read, or is of other networks.
        """
        if not self.recipe.init_from:
            self.model.initialise({track: self._crops.code_counts(track) for track in self.model.tracks})
        else:
            checkpoint = load_checkpoint(self.recipe.init_from)
            for name, network in self.model.networks().items():
                if checkpoint.networks.get(name) != network.config:
                    raise UserError(f"{self.recipe.init_from}: its {name} has other sizes than the one to train")
                load_weights(network, checkpoint.weights[name])
        self._average = WeightAverage(self.model, self.recipe.ema)

    def load_state(self, state: State) -> None:
        """Go on from a saved state.

        Raises:
            UserError: it is not a state of this model.
        """
        try:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._average.load_state_dict(state["average"])
            torch.set_rng_state(state["random"])
            self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]
            self._window = state["window"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.folder.path}: its latest state does not fit this model: {reason}") from None

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train until the last step, the time limit or a signal, and save; True when Ctrl-C ended it.

        Raises:
            UserError: the loss is no longer finite; the last checkpoints stay.
        """
        recipe = self.recipe
        new = math.isnan(self.losses["validation"])  # neither validated nor saved yet
        log = TrainingLog(self.folder.log, -1 if new else self.step, self.last_step)
        with contextlib.closing(log), StopRequest(recipe.max_minutes) as stop:
            clock = _Clock(self.step)
            if new:
                self._report(log, clock, stop, self._validate())
                self._save("latest")
            while self.step < self.last_step and not stop.requested:
                self._train_step()
                self.step += 1
                validate = self.step == self.last_step or self.step % recipe.validate_every == 0
                if validate or self.step % recipe.log_every == 0:
                    self._report(log, clock, stop, self._validate() if validate else math.nan)
                if self.step % recipe.save_every == 0:
                    self._save("latest")
            self._save("latest")
            return stop.interrupted

    def _train_step(self) -> None:
        began = time.monotonic()
        loss = self._loss(self._crops, self.step)
        self._optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self._optimizer.step(self.recipe.learning_rate_at(self.step, self.steps_per_epoch))
        self._average.update(self.step + 1)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(f"the loss is {value} at step {self.step}: try a lower learning_rate, or clip_norm=1")
        self._window = [self._window[0] + value, self._window[1] + 1]
        self.seconds += time.monotonic() - began

    @torch.no_grad()
    def _validate(self) -> float:
        """Nats a sample on the held-out crops, with the averaged weights; keeps the best."""
        batches = math.ceil(self.recipe.validation_crops / self.recipe.batch)
        with self._average.applied():
            loss = sum(self._loss(self._held_out, i).item() for i in range(batches)) / batches
        self.losses["validation"] = loss
        if loss < self.losses["best_validation"]:
            self.losses["best_validation"] = loss
            self._save("best")
        return loss

    def _loss(self, crops: Crops, batch: int) -> Tensor:
        codes = {track: torch.from_numpy(array).to(self.device) for track, array in crops.batch(batch).items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.model.loss(codes)

    # ---- what is told and kept ---------------------------------------------------------------------------------------

    def _report(self, log: TrainingLog, clock: _Clock, stop: StopRequest, validation: float) -> None:
        total, count = self._window
        self._window = [0.0, 0]
        self.losses["training"] = total / count if count else math.nan
        pace = clock.seconds_per_step(self.step)
        log.write(
            Report(
                step=self.step,
                epoch=self.step / self.steps_per_epoch,
                minutes=self.seconds / 60,
                loss=self.losses["training"],
                validation=validation,
                learning_rate=self.recipe.learning_rate_at(self.step, self.steps_per_epoch),
                samples_per_second=self._samples_per_step / pace if pace else 0.0,
                seconds_left=min((self.last_step - self.step) * pace, max(stop.seconds_left, 0.0)),
            )
        )

    def _save(self, name: str) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict(),
            "random": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "window": self._window,
        }
        with self._average.applied():
            self.folder.save(name, state, self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        networks = self.model.networks()
        branches = self.model.branches()
        heard_and_played = {
            *self.model.domains.values(),
            *(track for branch in branches for track in (branch.source, branch.target)),
        }
        return Checkpoint(
            method=self.model.name,
            networks={name: network.config for name, network in networks.items()},
            weights={name: to_checkpoint_weights(network) for name, network in networks.items()},
            domains=self.model.domains,
            branches=branches,
            levels={track: self._prepared.levels[track] for track in heard_and_played},
            sample_rate=self._prepared.sample_rate,
            step=self.step,
            training=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        rate = self._prepared.sample_rate
        return {
            "losses": {name: value for name, value in self.losses.items() if math.isfinite(value)},
            "hours": round(self.seconds / 3600, 3),
            "audio_hours_seen": round(self.step * self._samples_per_step / rate / 3600, 3),
            "data": describe_data(self._prepared),
            "config": {**to_flat(self.recipe), "init_from": Path(self.recipe.init_from).name},  # no one's folders
        }


class _Clock:
    """How long a step takes, validation and all, since the last report."""

    def __init__(self, step: int) -> None:
        self._time, self._step, self._pace = time.monotonic(), step, 0.0

    def seconds_per_step(self, step: int) -> float:
        now = time.monotonic()
        if self._step < step:
            self._pace = (now - self._time) / (step - self._step)
        self._time, self._step = now, step
        return self._pace


def describe_data(prepared: PreparedSet) -> dict[str, Any]:
    """What a run, and a checkpoint, say about their data: enough to notice that a run is resumed on another set."""
    pieces = {split: prepared.pieces(split) for split in ("train", "validation")}
    return {
        "domains": list(prepared.domains),
        "sample_rate": prepared.sample_rate,
        **{f"{split}_pieces": len(found) for split, found in pieces.items()},
        **{f"{split}_samples": int(np.sum([piece.samples for piece in found])) for split, found in pieces.items()},
    }


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no usable GPU")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
