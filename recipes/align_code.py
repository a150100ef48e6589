"""Let a trained decoder listen to another encoder: `python recipes/align_code.py SET ENCODER DECODER OUT`.

SET is a prepared set; ENCODER and DECODER are checkpoints of mixture-supervised in the same direction; OUT has the
encoder of the first and the decoder of the second. An encoder that was trained by itself (`learns=encoder`) has a code
of its own, in which the decoder would hear nothing. So the linear map from the new code to the old one that fits best
(ridge regression over crops of SET) goes into the decoder's condition weights, which see the code through them alone:

    W c_old  is about  W (A c_new + b) = (W A) c_new + W b

The decoder then plays nearly as before, and can learn what the new code tells beyond the old one. Before that the new
code is brought to mean zero and, in each channel, to the old code's usual deviation: the notes alone leave it many
times larger, and each step of the condition weights would then move the decoder too far. A network of ENCODER's that
tells the spectrum from the code (docs/shaping.md) goes along, and tells the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from musicstar_ext.checkpoints import SPECTRUM, Checkpoint, load, save
from musicstar_ext.data.crops import Crops
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError, run_command
from musicstar_ext.nn import build_network, load_weights

CROPS = {"train": 150, "validation": 30}
CROP_FRAMES = 60  # 3 s

Frames = NDArray[np.float64]


def align(prepared: PreparedSet, encoder: Checkpoint, decoder: Checkpoint, ridge: float) -> tuple[Checkpoint, float]:
    """The joined checkpoint, and the share of the old code's variance that the map explains on held-out pieces.

    Raises:
        UserError: the checkpoints are not an encoder and a decoder of one direction, or their codes differ in size.
    """
    for checkpoint in (encoder, decoder):
        if not {"encoder", "decoder"} <= checkpoint.networks.keys():
            raise UserError(f"a checkpoint of {checkpoint.method} has no encoder and decoder of its own")
    if encoder.domains != decoder.domains:
        raise UserError(f"the checkpoints differ in direction: {encoder.domains} and {decoder.domains}")
    new, old = (_codes(prepared, "train", checkpoint) for checkpoint in (encoder, decoder))
    held_out, truth = (_codes(prepared, "validation", checkpoint) for checkpoint in (encoder, decoder))
    centre, scale = new.mean(axis=0), old.std(axis=0).mean() / (new.std(axis=0) + 1e-9)
    new, held_out = (new - centre) * scale, (held_out - centre) * scale
    slope, offset = _ridge(new, old, ridge)
    missed = held_out @ slope + offset - truth
    explained = 1 - missed.var(axis=0).sum() / truth.var(axis=0).sum()

    ears = dict(encoder.weights["encoder"])
    ears["code.weight"] = (ears["code.weight"] * scale[:, None, None]).astype(np.float32)
    ears["code.bias"] = ((ears["code.bias"] - centre) * scale).astype(np.float32)
    weights = dict(decoder.weights["decoder"])
    for name in decoder.weights["decoder"]:
        if name.endswith("condition.weight"):
            heard = weights[name][:, :, 0].astype(np.float64)  # [outputs, code channels]
            bias = name.removesuffix("weight") + "bias"
            weights[name] = (heard @ slope.T)[:, :, None].astype(np.float32)
            weights[bias] = (weights[bias] + heard @ offset).astype(np.float32)
    joined = dataclasses.replace(
        decoder,
        networks={"encoder": encoder.networks["encoder"], "decoder": decoder.networks["decoder"]},
        weights={"encoder": ears, "decoder": weights},
    )
    if SPECTRUM in encoder.networks:
        reader = dict(encoder.weights[SPECTRUM])
        heard = reader["first.weight"].astype(np.float64)  # [outputs, code channels, frames]
        reader["first.weight"] = (heard / scale[:, None]).astype(np.float32)
        reader["first.bias"] = (reader["first.bias"] + np.einsum("ock,c->o", heard, centre)).astype(np.float32)
        joined.networks[SPECTRUM], joined.weights[SPECTRUM] = encoder.networks[SPECTRUM], reader
    return joined, float(explained)


def _codes(prepared: PreparedSet, split: str, checkpoint: Checkpoint) -> Frames:
    """The code of crops that are the same for every encoder: [crops * frames, channels]."""
    config, source = checkpoint.networks["encoder"], checkpoint.domains["source"]
    network = build_network(config)
    load_weights(network, checkpoint.weights["encoder"])
    crops = Crops(prepared, split, (source,), CROP_FRAMES * config.pool, 1, seed=0)
    with torch.inference_mode():
        codes = [network(torch.from_numpy(crops.batch(number)[source]))[0] for number in range(CROPS[split])]
    return torch.cat(codes, dim=1).T.double().numpy()


def _ridge(x: Frames, y: Frames, ridge: float) -> tuple[Frames, NDArray[np.float64]]:
    """(A [X, Y], b [Y]) with the least |x A + b - y|^2, large A discouraged."""
    centre, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - centre) / deviation
    slope = np.linalg.solve(z.T @ z / len(z) + ridge * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)) / len(z))
    slope /= deviation[:, None]
    return slope, y.mean(axis=0) - centre @ slope


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Let a trained decoder listen to another encoder.")
    for name in ("set", "encoder", "decoder", "out"):
        parser.add_argument(name, metavar=name.upper())
    parser.add_argument(
        "--ridge",
        type=float,
        default=1e-6,
        help="added to each channel's mean square: more keeps channels that go together from large weights that cancel "
        "(%(default)s)",
    )
    options = parser.parse_args(argv)
    if not options.ridge > 0:
        raise UserError(f"--ridge must be above 0, not {options.ridge}")
    prepared = PreparedSet.open(options.set)
    joined, explained = align(prepared, load(options.encoder), load(options.decoder), options.ridge)
    save(joined, options.out)
    print(f"{options.out}: the map explains {explained:.0%} of the old code's variance on held-out pieces")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, "align_code"))
