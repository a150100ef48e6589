"""Checkpoints: safetensors with a header that says everything needed to run them.

A checkpoint holds any number of named networks. Tensor `encoder.layers.3.dilated.weight` is tensor
`layers.3.dilated.weight` of the network `encoder`. The header's metadata are strings:

| key | value |
|---|---|
| `format` | `musicstar_ext`, and `format_version`, an integer: another version is refused |
| `method` | the method of the paper's Table 1 that trained it, e.g. `mixture-supervised` |
| `networks` | JSON: {network name: architecture config with its `type`} |
| `domains` | JSON: {"source": "strings-piano", "target": "clarinet-vibraphone"} |
| `branches` | JSON: how the networks translate, a list of {"source": track, "target": track, "encoder", "decoder"} |
| `levels` | JSON: {track: dBFS}, the mean level of the training audio of every source and target track |
| `guidance` | a number as text, where the decoders learnt to play without a code, too: what `auto` takes; else absent |
| `sample_rate`, `step`, `package_version` | numbers as text, and the version that wrote it |
| `training` | JSON: what produced it (data, losses, hours); free-form, for people and cards |

Reading needs neither torch nor a numpy that knows bfloat16: 16-bit weights are widened to float32 here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from . import models
from ._version import __version__
from .architecture import NetworkConfig, network_from_json, parameter_count
from .atomic import write_atomically
from .errors import CommandParser, UserError, run_command
from .guidance import NO_GUIDANCE, checked_guidance

FORMAT = "musicstar_ext"
FORMAT_VERSION = 1
LARGEST_CHECKPOINT = 4 << 30  # bytes
STORED_TYPES = ("float32", "bfloat16")

SPECTRUM = "spectrum"  # the network that tells the target's spectrum from the code of the only branch

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Branch:
    """One path through a checkpoint's networks: a track is encoded, and decoded as another; outputs are summed.

    Attributes:
        source: the track that is heard: a domain's mixture, or one of its stems.
        target: the track that is played: a mixture, or a stem (the sum of all branches is then the mixture).
        encoder, decoder: names of networks; branches that hear one track with one encoder share its code.
    """

    source: str
    target: str
    encoder: str = "encoder"
    decoder: str = "decoder"


@dataclass
class Checkpoint:
    """Networks with their weights (float32 numpy arrays) and what is known about them.

    `guidance` (docs/guidance.md) is None where the decoders never learnt to play without a code.
    """

    method: str
    networks: dict[str, NetworkConfig]
    weights: dict[str, Tensors]
    domains: dict[str, str]
    branches: tuple[Branch, ...]
    levels: dict[str, float]
    sample_rate: int = 16_000
    step: int = 0
    package_version: str = __version__
    training: dict[str, Any] = field(default_factory=dict)
    guidance: float | None = None

    def parameter_count(self) -> int:
        return sum(parameter_count(config) for config in self.networks.values())


def save(checkpoint: Checkpoint, path: str | os.PathLike[str], dtype: str = "float32") -> None:
    """Write a checkpoint whole or not at all: beside its place first, then renamed.

    Args:
        dtype: how weights are stored, "float32" or "bfloat16" (round to nearest even).
    """
    if dtype not in STORED_TYPES:
        raise UserError(f"a checkpoint stores {' or '.join(STORED_TYPES)}, not {dtype!r}")
    tensors: dict[str, safetensors.TensorSpec] = {}
    buffers = []  # a TensorSpec holds an address only: these keep it valid
    for network, weights in checkpoint.weights.items():
        _check_weights(network, checkpoint.networks[network], weights)
        for name, array in weights.items():
            data = np.ascontiguousarray(array, dtype=np.float32)
            stored = _to_bfloat16(data) if dtype == "bfloat16" else data
            buffers.append(stored)
            tensors[f"{network}.{name}"] = safetensors.TensorSpec(
                dtype=dtype, shape=data.shape, data_ptr=stored.ctypes.data, data_len=stored.nbytes
            )
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "method": checkpoint.method,
        "networks": json.dumps({name: config.to_json() for name, config in checkpoint.networks.items()}),
        "domains": json.dumps(checkpoint.domains),
        "branches": json.dumps([dataclasses.asdict(branch) for branch in checkpoint.branches]),
        "levels": json.dumps(checkpoint.levels),
        "sample_rate": str(checkpoint.sample_rate),
        "step": str(checkpoint.step),
        "package_version": checkpoint.package_version,
        "training": json.dumps(checkpoint.training),
    }
    if checkpoint.guidance is not None:
        metadata["guidance"] = str(checked_guidance(checkpoint.guidance))
    write_atomically(Path(path), bytes(safetensors.serialize(tensors, metadata)))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        UserError: the file is missing, truncated, not safetensors, of another format version, or its tensors do not
            have the names and shapes that its own config promises, or are not finite.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_CHECKPOINT:
            raise UserError(f"{path}: {size} bytes is larger than any checkpoint of this package")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    metadata = _metadata(path, data)
    try:
        stored = dict(safetensors.deserialize(data))
    except Exception as error:  # the library raises its own SafetensorError
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None

    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of musicstar_ext")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        found = metadata.get("format_version")
        raise UserError(f"{path}: checkpoint format {found}, this version reads format {FORMAT_VERSION}")
    try:
        networks = {name: network_from_json(name, text) for name, text in _json_object(metadata, "networks").items()}
        checkpoint = Checkpoint(
            method=metadata["method"],
            networks=networks,
            weights={},
            domains={key: str(value) for key, value in _json_object(metadata, "domains").items()},
            branches=_branches(metadata, networks),
            levels={key: float(value) for key, value in _json_object(metadata, "levels").items()},
            sample_rate=int(metadata["sample_rate"]),
            step=int(metadata["step"]),
            package_version=metadata["package_version"],
            training=_json_object(metadata, "training"),
            guidance=checked_guidance(float(metadata["guidance"])) if "guidance" in metadata else None,
        )
        expected = {f"{network}.{name}" for network in networks for name in networks[network].tensor_shapes()}
        if stored.keys() != expected:
            odd = sorted(stored.keys() ^ expected)
            raise UserError(f"{len(odd)} tensors are missing or unknown, {odd[0]!r} first")
        for network, config in networks.items():
            weights = {name: _to_float32(network, name, stored[f"{network}.{name}"]) for name in config.tensor_shapes()}
            _check_weights(network, config, weights)
            checkpoint.weights[network] = weights
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: the checkpoint's header is damaged ({error!r})") from None
    return checkpoint


def _metadata(path: Path, data: bytes) -> dict[str, str]:
    """The header's metadata: safetensors starts with a 64-bit length and that many bytes of JSON."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8 or length > 100_000_000:
        raise UserError(f"{path}: not a safetensors file, or a truncated one")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.get("__metadata__", {})
        return {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a safetensors file (its header is not JSON)") from None


def _json_object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    value = json.loads(metadata[key])
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not a JSON object")
    return value


def _branches(metadata: Mapping[str, str], networks: Mapping[str, NetworkConfig]) -> tuple[Branch, ...]:
    """Read `branches`; every network that they name must be there, and be of the right type."""
    described = json.loads(metadata["branches"])
    if not isinstance(described, list):
        raise ValueError("branches is not a JSON list")
    keys = {field.name for field in dataclasses.fields(Branch)}
    for entry in described:
        if not isinstance(entry, dict) or entry.keys() != keys or not all(isinstance(v, str) for v in entry.values()):
            raise ValueError(f"a branch must name {', '.join(sorted(keys))}")
        for role in ("encoder", "decoder"):
            network = networks.get(entry[role])
            if network is None or network.type_name != role:
                raise UserError(
                    f"the branch to {entry['target']!r} needs the {role} {entry[role]!r}, which is not there"
                )
    return tuple(Branch(**entry) for entry in described)


def _check_weights(network: str, config: NetworkConfig, weights: Mapping[str, np.ndarray]) -> None:
    shapes = config.tensor_shapes()
    if weights.keys() != shapes.keys():
        odd = sorted(weights.keys() ^ shapes.keys())
        raise UserError(f"network {network!r}: {len(odd)} tensors are missing or unknown, {odd[0]!r} first")
    for name, array in weights.items():
        if tuple(array.shape) != shapes[name]:
            raise UserError(f"tensor {network}.{name} has shape {tuple(array.shape)}, its config says {shapes[name]}")
        if not np.isfinite(array).all():
            raise UserError(f"tensor {network}.{name} holds values that are not finite")


def _to_bfloat16(array: np.ndarray) -> np.ndarray:
    bits = array.view(np.uint32)
    rounding = 0x7FFF + ((bits >> 16) & 1)
    return ((bits + rounding) >> 16).astype(np.uint16)


def _to_float32(network: str, name: str, stored: Mapping[str, Any]) -> np.ndarray:
    dtype, data = stored["dtype"], stored["data"]
    if dtype == "F32":
        array = np.frombuffer(data, np.float32)
    elif dtype == "BF16":
        array = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F16":
        array = np.frombuffer(data, np.float16).astype(np.float32)
    else:
        raise UserError(f"tensor {network}.{name} is stored as {dtype}; this version reads F32, BF16 and F16")
    return array.reshape(stored["shape"]).copy()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `python -m musicstar_ext.checkpoints`; returns its exit status."""
    return run_command(lambda: _run(arguments), "musicstar_ext.checkpoints")


def _run(arguments: Sequence[str] | None) -> None:
    parser = CommandParser(prog="python -m musicstar_ext.checkpoints", description="Look at checkpoints, convert them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="what a checkpoint holds, and how it was made")
    show.add_argument("checkpoint", metavar="PATH|NAME", help="a .safetensors file, or a shipped model's name")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(run=lambda options: _show(options.checkpoint, options.json))
    convert = commands.add_parser(
        "convert",
        help="write a checkpoint again, its weights stored otherwise; or import published ones",
        description="Write a checkpoint again, its weights stored otherwise. Or import checkpoints of the published "
        "Music-STAR and music-translation code (.pth, with args.pth beside them), each of whose decoders becomes a "
        "branch: --source strings,piano --target clarinet,vibraphone for models that hear stems, --source "
        "strings-piano --target clarinet-vibraphone for one that hears a mixture.",
    )
    add = convert.add_argument
    add("inputs", nargs="+", metavar="IN", help="a .safetensors file or a shipped model's name; or published files")
    add("output", metavar="OUT", type=Path, help="the .safetensors file to write")
    add("--dtype", choices=STORED_TYPES, default="float32", help="bfloat16 is half as large")
    add("--guidance", type=float, metavar="G", help="what `translate --guidance auto` takes, for a model that has it")
    imports = convert.add_argument_group("published files only")
    add = imports.add_argument
    add("--source", "--sources", metavar="A[,B]", type=_names, help="what is heard: a recording, or a stem per decoder")
    add("--target", "--targets", metavar="A[,B]", type=_names, help="what each decoder plays, in the files' order")
    add(
        "--source-level", metavar="DBFS[,..]", type=_numbers, help="of its training audio (-14); --source-level=-20,-18"
    )
    add("--target-level", metavar="DBFS[,..]", type=_numbers, help="the same for what is played (-14)")
    add("--encoders", metavar="PATH[,..]", type=_names, help="take the encoders from these files instead")
    add("--encoder-layers", metavar="N", type=int, help="in a block, where no args.pth says so")
    add("--decoder-layers", metavar="N", type=int, help="the same for decoders; with both, args.pth is not read")
    add("--method", metavar="NAME", help="of the paper's Table 1 (judged by the networks)")
    convert.set_defaults(run=_convert)
    options = parser.parse_args(arguments)
    options.run(options)


_IMPORT_OPTIONS = (
    "source", "target", "source_level", "target_level", "encoders", "encoder_layers", "decoder_layers", "method",
)  # fmt: skip


def _convert(options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.is_dir():
        raise UserError(f"{output}: is a folder")
    if output.suffix != models.SUFFIX:
        raise UserError(f"{output}: a checkpoint's name ends in {models.SUFFIX}")
    given = [f"--{name.replace('_', '-')}" for name in _IMPORT_OPTIONS if getattr(options, name) is not None]
    ours = [text for text in options.inputs if text in models.names() or Path(text).suffix == models.SUFFIX]
    if ours or not any(Path(text).exists() for text in options.inputs):
        if len(options.inputs) > 1:
            raise UserError(f"{options.inputs[0]}: checkpoints of this package are converted one by one")
        if given:
            raise UserError(f"{given[0]} is for published files, and {options.inputs[0]} is not one")
        checkpoint = load(models.find(options.inputs[0]))
    else:
        checkpoint = _import(options)
    if options.guidance is not None:
        if checkpoint.guidance is None:
            raise UserError(f"{options.inputs[0]}: {NO_GUIDANCE}, so it takes no --guidance")
        checkpoint.guidance = checked_guidance(options.guidance)
    save(checkpoint, output, options.dtype)


def _import(options: argparse.Namespace) -> Checkpoint:
    from .published import DEFAULT_LEVEL, Wanted, import_checkpoints

    for option in ("source", "target"):
        if getattr(options, option) is None:
            raise UserError(f"--{option} is needed: a published file does not say what its model hears and plays")
    wanted = Wanted(
        sources=options.source,
        targets=options.target,
        source_levels=options.source_level or [DEFAULT_LEVEL],
        target_levels=options.target_level or [DEFAULT_LEVEL],
        encoders=[Path(text) for text in options.encoders or []],
        encoder_layers=options.encoder_layers,
        decoder_layers=options.decoder_layers,
        method=options.method or "",
    )
    return import_checkpoints([Path(text) for text in options.inputs], wanted)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers of dBFS, not {text!r}") from None


def _show(checkpoint: str, as_json: bool) -> None:
    path = models.find(checkpoint)
    description = describe(load(path))
    if as_json:
        print(json.dumps({"path": str(path), **description}, indent=2))
        return
    print(path)
    for key, value in description.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, entry in value.items():
                text = ", ".join(f"{k} {v}" for k, v in entry.items()) if isinstance(entry, dict) else entry
                print(f"  {name}: {text}")
        elif key == "branches":
            print("branches:")
            for branch in value:
                print(f"  {branch['source']} -> {branch['target']}: {branch['encoder']}, {branch['decoder']}")
        else:
            print(f"{key}: {value}")


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything but the weights, ready for JSON; each network with its sizes and its number of parameters."""
    return {
        "method": checkpoint.method,
        "domains": checkpoint.domains,
        "branches": [dataclasses.asdict(branch) for branch in checkpoint.branches],
        "levels": checkpoint.levels,
        "sample_rate": checkpoint.sample_rate,
        "networks": {
            name: {**config.to_json(), "parameters": parameter_count(config)}
            for name, config in checkpoint.networks.items()
        },
        "parameters": checkpoint.parameter_count(),
        "guidance": checkpoint.guidance,
        "step": checkpoint.step,
        "package_version": checkpoint.package_version,
        "training": checkpoint.training,
    }


if __name__ == "__main__":
    sys.exit(main())
