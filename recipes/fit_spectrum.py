"""Let a checkpoint tell the spectrum that it is to play: `python recipes/fit_spectrum.py SET CHECKPOINT OUT`.

SET is a prepared set, CHECKPOINT has one branch, from mixture to mixture. Its code for crops of SET is computed once;
the network that tells the target's spectrum from it (docs/shaping.md) then sees the frames many times over, in random
order. OUT is the checkpoint with that network, from which `translate` shapes what the decoder plays. It starts from
the one that CHECKPOINT has already, or that another checkpoint with the same encoder has (`--start`; with `--steps 0`
that one is taken as it is).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np
import torch
from torch import Tensor

from musicstar_ext.architecture import EncoderConfig, SpectrumConfig
from musicstar_ext.checkpoints import SPECTRUM, Checkpoint, Tensors, load, save
from musicstar_ext.data.crops import Crops
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError, run_command
from musicstar_ext.nn import SpectrumNetwork, build_encoder, load_weights, to_checkpoint_weights
from musicstar_ext.nn.spectrum import distance, mu_law_decoded, power_spectra

CROP_SECONDS = 4
BATCH = 256  # frames
LEARNING_RATE = 1.5e-3  # falling to zero

Frames = tuple[Tensor, Tensor]  # the code around each frame, [N, C, kernel_size]; the spectra there, [N, bins]


def started(checkpoint: Checkpoint, other: Checkpoint) -> Checkpoint:
    """The checkpoint with the other one's network.

    Raises:
        UserError: the other one has none, or another encoder.
    """
    if SPECTRUM not in other.networks:
        raise UserError(f"has no network {SPECTRUM!r} to start from")
    ours, theirs = (_encoder_of(each)[1] for each in (checkpoint, other))
    if ours.keys() != theirs.keys() or not all(np.array_equal(ours[name], theirs[name]) for name in ours):
        raise UserError("has another encoder: its network would not understand the code")
    return dataclasses.replace(
        checkpoint,
        networks={**checkpoint.networks, SPECTRUM: other.networks[SPECTRUM]},
        weights={**checkpoint.weights, SPECTRUM: other.weights[SPECTRUM]},
    )


def fit(
    prepared: PreparedSet, checkpoint: Checkpoint, hours: float, steps: int, seed: int, held_out_crops: int
) -> tuple[Checkpoint, tuple[float, float]]:
    """The checkpoint with its network, and the held-out distance in nats before and after.

    Raises:
        UserError: the checkpoint has no single branch whose tracks are in the set.
    """
    torch.manual_seed(seed)
    network = _network(checkpoint)
    train = _frames(prepared, "train", checkpoint, network.config, round(hours * 3600 / CROP_SECONDS), seed)
    held_out = _frames(prepared, "validation", checkpoint, network.config, held_out_crops, 0)
    if SPECTRUM not in checkpoint.networks:
        network.start(train[1])
    before = _distance(network, held_out)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.01)
    for step in range(steps):
        chosen = torch.randint(len(train[0]), (BATCH,))
        loss = _loss(network, (train[0][chosen], train[1][chosen]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, step / 100) * (1 - step / steps)
        optimizer.step()
        if step % 500 == 499:
            print(f"step {step + 1}/{steps}  validation {_distance(network, held_out):.4f} nats", flush=True)
    fitted = dataclasses.replace(
        checkpoint,
        networks={**checkpoint.networks, SPECTRUM: network.config},
        weights={**checkpoint.weights, SPECTRUM: to_checkpoint_weights(network)},
    )
    return fitted, (before, _distance(network, held_out))


def _encoder_of(checkpoint: Checkpoint) -> tuple[EncoderConfig, Tensors]:
    """What the only branch hears with.

    Raises:
        UserError: there is no branch, or more than one.
    """
    if len(checkpoint.branches) != 1:
        raise UserError(f"it has {len(checkpoint.branches)} branches, not one")
    name = checkpoint.branches[0].encoder
    config = checkpoint.networks[name]
    assert isinstance(config, EncoderConfig)  # as every branch of a checkpoint that was read
    return config, checkpoint.weights[name]


def _network(checkpoint: Checkpoint) -> SpectrumNetwork:
    encoder, _ = _encoder_of(checkpoint)
    config = checkpoint.networks.get(SPECTRUM, SpectrumConfig(encoder.code_channels, encoder.pool))
    assert isinstance(config, SpectrumConfig)
    network = SpectrumNetwork(config)
    if SPECTRUM in checkpoint.networks:
        load_weights(network, checkpoint.weights[SPECTRUM])
    return network


def _frames(
    prepared: PreparedSet, split: str, checkpoint: Checkpoint, config: SpectrumConfig, count: int, seed: int
) -> Frames:
    """The code and the spectra of crops: frames at a crop's edges, of which a window is not whole, are left out."""
    branch = checkpoint.branches[0]
    encoder_config, weights = _encoder_of(checkpoint)
    encoder = build_encoder(encoder_config)
    load_weights(encoder, weights)
    samples = CROP_SECONDS * prepared.sample_rate // config.pool * config.pool
    crops = Crops(prepared, split, (branch.source, branch.target), samples, 1, seed)
    reach = config.kernel_size // 2
    codes, powers = [], []
    with torch.inference_mode():
        for number in range(count):
            batch = crops.batch(number)
            code = encoder(torch.from_numpy(batch[branch.source]))[0]  # [C, F]
            power, inside = power_spectra(mu_law_decoded(torch.from_numpy(batch[branch.target])), config)
            around = code.unfold(1, config.kernel_size, 1).transpose(0, 1)  # [F - 2 reach, C, K]
            first, last = max(inside.start, reach), min(inside.stop, code.shape[1] - reach)
            codes.append(around[first - reach : last - reach])
            powers.append(power[0, first - inside.start : last - inside.start])
    return torch.cat(codes), torch.cat(powers)


def _loss(network: SpectrumNetwork, frames: Frames) -> Tensor:
    code, power = frames
    middle = network.config.kernel_size // 2
    return distance(network(code)[:, middle], power)


def _distance(network: SpectrumNetwork, frames: Frames) -> float:
    with torch.inference_mode():
        return _loss(network, frames).item()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Let a checkpoint tell the spectrum that it is to play.")
    for name in ("set", "checkpoint", "out"):
        parser.add_argument(name, metavar=name.upper())
    parser.add_argument("--hours", type=float, default=1.5, help="of audio to learn from (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=6000, help="of 256 frames; 0 needs a network to take (%(default)s)"
    )
    parser.add_argument(
        "--held-out",
        type=int,
        default=60,
        metavar="N",
        help="crops of 4 s that the distance is measured on (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of crops and frames (%(default)s)")
    parser.add_argument("--start", metavar="CHECKPOINT", help="start from the network of this one")
    options = parser.parse_args(argv)
    if options.hours <= 0 or options.steps < 0 or options.held_out < 1:
        raise UserError("--hours must be above 0, --steps at least 0, --held-out at least 1")
    checkpoint = load(options.checkpoint)
    if options.start:
        other = load(options.start)
        try:
            checkpoint = started(checkpoint, other)
        except UserError as error:
            raise UserError(f"{options.start}: {error}") from None
    try:
        if not options.steps and SPECTRUM not in checkpoint.networks:
            raise UserError(f"has no network {SPECTRUM!r}: --steps 0 leaves it without one")
        if options.steps:
            prepared = PreparedSet.open(options.set)
            checkpoint, distances = fit(
                prepared, checkpoint, options.hours, options.steps, options.seed, options.held_out
            )
            print("held-out distance {1:.3f} nats, {0:.3f} before".format(*distances))
    except UserError as error:
        raise UserError(f"{options.checkpoint}: {error}") from None
    save(checkpoint, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, "fit_spectrum"))
