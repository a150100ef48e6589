"""The training loop, the same for every method: steps, validation, checkpoints, reports.

Everything that a step depends on is in the state that is saved (weights, optimizer, average) or a function of the step
(crops, random numbers, learning rate), so a resumed training repeats the uninterrupted one bit for bit. Under torchrun
several processes train together (`processes`); the files are then the first one's.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
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
from musicstar_ext.nn import to_checkpoint_weights
from musicstar_ext.nn.widening import start_from_narrower

from .batches import Batches
from .logging import Report, TrainingLog
from .optimizers import Optimizers
from .options import to_flat
from .processes import Processes
from .resident import resident_if_it_fits
from .run_folder import RunFolder, State
from .stopping import StopRequest
from .warm_start import spelled, warm_starts
from .weight_average import WeightAverage

VALIDATION_SEED = 0  # of the crops: the same in every run, so that runs compare


class Training:
    """One run of a method on a prepared set; `recipe` is the method's config.

    Raises:
        UserError: the set lacks what the method needs, there is no such device, or the batch cannot be shared out.
    """

    def __init__(self, method: type[Method], recipe: Recipe, prepared: PreparedSet, folder: RunFolder) -> None:
        if method.full_rate:
            prepared = prepared.full_rate() or prepared
        recipe = method.config_for(recipe, prepared)
        self.recipe, self.folder, self._prepared = recipe, folder, prepared
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.processes = Processes(recipe.device)
        self.device = self.processes.device
        self._rows = self.processes.rows(recipe.batch)
        torch.manual_seed(recipe.seed)
        self.model = model = method(recipe, prepared.domains).to(self.device)

        self.steps_per_epoch, self.last_step, self._samples_per_step = 1, 0, 0
        if method.trained:
            samples = recipe.crop_samples(prepared.sample_rate, model.frame_samples)
            size = (model.tracks, samples, recipe.batch)
            more = (model.augmented_tracks, model.noted_stems, model.frame_samples)
            self._crops = Crops(prepared, "train", *size, recipe.seed, model.crops_are, *more)
            noted = ((), model.noted_stems, model.frame_samples)
            self._held_out = Crops(prepared, "validation", *size, VALIDATION_SEED, model.crops_are, *noted)
            self._samples_per_step = recipe.batch * samples
            self.steps_per_epoch = math.ceil(self._crops.total_samples / self._samples_per_step)
            self.last_step = recipe.last_step(self.steps_per_epoch)

        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._optimizer = Optimizers(model, recipe)
        self._average = WeightAverage(model, recipe.ema)
        self.step = 0
        self.seconds = 0.0  # of training, in all starts of the run
        self.signalled = False  # whether SIGTERM or Ctrl-C has ended `run`
        self.losses = {"training": math.nan, "validation": math.nan, "best_validation": math.inf}
        self._window_sum, self._window_steps = self._sum_from(0.0), 0  # of the losses since the last report

    # ---- where the weights start -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Initialise the weights; networks for which `init_from` names a checkpoint are taken from there.

        Raises:
            UserError: such a checkpoint cannot be read, has none of the networks, or one that does not fit.
        """
        model = self.model
        tracks = model.tracks if model.trained and model.crops_are == "codes" else ()
        model.initialise({track: self._crops.code_counts(track) for track in tracks})
        if model.trained:
            model.look(Batches(self._crops, self.device, model.tracks_at)[0])
        for name, path in warm_starts(self.recipe.init_from):
            self._warm_start(path, name)
        self.processes.agree(model, self.step)
        self._average = WeightAverage(model, self.recipe.ema)

    def _warm_start(self, path: str, only: str) -> None:
        """Take the networks of a checkpoint, or the one of that name."""
        checkpoint = load_checkpoint(path)
        wanted = {name: network for name, network in self.model.networks().items() if only in ("", name)}
        networks = {name: network for name, network in wanted.items() if name in checkpoint.networks}
        if not networks:
            found = ", ".join(checkpoint.networks)
            lack = f"no {only!r} to train" if only else f"none of those to train: {', '.join(wanted)}"
            raise UserError(f"{path}: has the networks {found}, and {lack}")
        for name, network in networks.items():
            try:
                start_from_narrower(network, checkpoint.networks[name], checkpoint.weights[name])
            except UserError as error:
                raise UserError(f"{path}: its {name} does not fit the one to train: {error}") from None

    def load_state(self, state: State) -> None:
        """Go on from a saved state.

        Raises:
            UserError: it is not a state of this model.
        """
        try:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._average.load_state_dict(state["average"])
            self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]
            window_sum, self._window_steps = state["window"]
            self._window_sum = self._sum_from(window_sum)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.folder.path}: its latest state does not fit this model: {reason}") from None
        self.processes.agree(self.model, self.step)

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train until the last step, the time limit or a signal, and save; True when Ctrl-C ended it.

        A method with nothing of its own to train is saved as it is.

        Raises:
            UserError: the loss is no longer finite, a file cannot be written, the GPU's memory is too small, or
                another process has gone; the last checkpoints stay.
        """
        recipe, processes = self.recipe, self.processes
        new = math.isnan(self.losses["validation"])  # neither validated nor saved yet
        with contextlib.ExitStack() as stack:
            if processes.first:
                stack.enter_context(self.folder.held())
            if not self.model.trained:
                self._save("latest")
                self._save("best")
                processes.any(False)
                return False
            log = None
            if processes.first:
                log = stack.enter_context(
                    TrainingLog(self.folder.log, -1 if new else self.step, self.last_step, self.model.unit)
                )
            resident = resident_if_it_fits(self._crops, self.device)
            batches = Batches(self._crops, self.device, self.model.tracks_at, self._rows, resident)
            stack.enter_context(batches)
            stop = stack.enter_context(StopRequest(recipe.max_minutes))
            stack.enter_context(_enough_memory())
            clock = _Clock(self.step)
            if new:
                self._report(log, clock, stop, self._validate())
                self._save("latest")
            while self.step < self.last_step and not processes.any(stop.requested):
                self._train_step(batches)
                validate = self.step == self.last_step or self.step % recipe.validate_every == 0
                if validate or self.step % recipe.log_every == 0:
                    self._report(log, clock, stop, self._validate() if validate else math.nan)
                if self.step % recipe.save_every == 0:
                    self._save("latest")
            self._save("latest")
            self.signalled = processes.any(stop.signalled)
            return processes.any(stop.interrupted)  # which waits: who reads the files next finds them whole

    def _train_step(self, batches: Batches) -> None:
        began = time.monotonic()
        self._seed(self.step)
        self._optimizer.zero_grad()
        loss = self._backward(batches[self.step])
        loss = self.processes.mean([weight.grad for weight in self._weights if weight.grad is not None], loss)
        if self.recipe.clip_value:
            torch.nn.utils.clip_grad_value_(self._weights, self.recipe.clip_value)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._weights, self.recipe.clip_norm)
        self._optimizer.step(self.recipe.learning_rate_at(self.step, self.steps_per_epoch))
        self.step += 1
        self._average.update(self.step)
        self._window_sum += loss  # not read yet: a GPU may be steps behind
        self._window_steps += 1
        self.seconds += time.monotonic() - began

    def _backward(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Add the gradient of a batch's loss to the weights', part after part where the recipe asks for that."""
        batch = len(next(iter(crops.values())))
        size = self.recipe.micro_batch or batch
        total = torch.zeros((), device=self.device)
        for first in range(0, batch, size):
            part = {track: values[first : first + size] for track, values in crops.items()}
            share = min(size, batch - first) / batch  # a loss is a mean over its crops
            loss = self._in_precision(self.model.loss, part) * share
            loss.backward()
            total += loss.detach()
        return total

    def _sum_of_window(self) -> float:
        """Of the losses since the last report; waits for the device.

        Raises:
            UserError: one of them was not finite.
        """
        total = self._window_sum.item()
        if not math.isfinite(total):
            raise UserError(f"the loss is {total} by step {self.step}: try a lower learning_rate, or clip_norm=1")
        return total

    @torch.no_grad()
    def _validate(self) -> float:
        """The loss on the held-out crops, with the averaged weights; keeps the best. The processes take turns."""
        count = math.ceil(self.recipe.validation_crops / self.recipe.batch)
        batches = Batches(self._held_out, self.device, lambda _: self.model.tracks)
        values = {}
        with self._average.applied():
            for number in range(self.processes.rank, count, self.processes.count):
                self._seed(number)
                values[number] = self._in_precision(self.model.validation_loss, batches[number]).item()
        loss = sum(self.processes.gather(values, count)) / count
        self.losses["validation"] = loss
        if loss < self.losses["best_validation"]:
            self.losses["best_validation"] = loss
            self._save("best")
        return loss

    def _sum_from(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device)

    def _in_precision(self, loss: Callable[[dict[str, Tensor]], Tensor], crops: dict[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return loss(crops)

    def _seed(self, number: int) -> None:
        """Make what a loss draws a function of the step, so that no generator's state is part of the training's."""
        sequence = np.random.SeedSequence([self.recipe.seed, number, self.processes.rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    # ---- what is told and kept ---------------------------------------------------------------------------------------

    def _report(self, log: TrainingLog | None, clock: _Clock, stop: StopRequest, validation: float) -> None:
        total, count = self._sum_of_window(), self._window_steps
        self._window_sum, self._window_steps = self._sum_from(0.0), 0
        self.losses["training"] = total / count if count else math.nan
        pace = clock.seconds_per_step(self.step)
        if log is None:
            return
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
        """Write "latest", from which the training can go on, or "best", a checkpoint alone."""
        self._sum_of_window()  # nothing is saved after a loss that is not finite
        if not self.processes.first:
            return
        with self._average.applied():
            checkpoint = self._checkpoint() if self.model.trained else self.model.assembled()
        self.folder.save(name, checkpoint, self._state() if name == "latest" else None)

    def _state(self) -> State:
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "window": [self._sum_of_window(), self._window_steps],
        }

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
            guidance=self.model.guidance,
        )

    def _provenance(self) -> dict[str, Any]:
        rate = self._prepared.sample_rate
        losses = {name: value for name, value in self.losses.items() if math.isfinite(value)}
        paths = ("init_from", *self.model.requires)
        return {
            "losses": {"unit": self.model.unit, **losses},
            "hours": round(self.seconds / 3600, 3),
            "audio_hours_seen": round(self.step * self._samples_per_step / rate / 3600, 3),
            "data": describe_data(self._prepared),
            "config": {
                key: spelled(value, lambda path: Path(path).name) if key in paths else value  # no one's folders
                for key, value in to_flat(self.recipe).items()
            },
        }


@contextlib.contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise UserError("the GPU's memory is too small: try a smaller batch, or smaller crop_seconds") from None


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
