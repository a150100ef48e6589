"""Reading what `torch.save` wrote, without running anything that it holds.

A pickle can name any function and have it called. Weights are read by torch's weights-only unpickler, which calls
none but those that rebuild tensors; the settings beside them by an unpickler of our own, which builds plain values.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from musicstar_ext.checkpoints import LARGEST_CHECKPOINT, Tensors
from musicstar_ext.errors import MissingExtraError, UserError

STATES = ("encoder_state", "decoder_state", "decoder2_state")
LARGEST_SETTINGS = 1 << 20  # bytes

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file that torch wrote before its zip format


def read_states(path: Path) -> dict[str, Tensors]:
    """The state dictionaries of a published checkpoint, as float32 arrays; whatever else it holds is left out.

    Names lose the `module.` that DataParallel puts before each of them.

    Raises:
        UserError: the file is missing, damaged or no such checkpoint, holds anything but weights and plain values (a
            pickle that would call a function is refused before it can), or a state is not made of finite real tensors.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "train") from None
    _check_size(path, LARGEST_CHECKPOINT, "any checkpoint of this kind")
    _check_unpacked_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats, in several lines
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise _unreadable(path, error) from None
    if not isinstance(held, Mapping) or not any(isinstance(held.get(key), Mapping) for key in STATES):
        raise UserError(f"{path}: not a published checkpoint: a dictionary with encoder_state and decoder_state")
    return {key: _arrays(path, key, held[key]) for key in STATES if key in held}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a training wrote as `args.pth`: an argparse namespace, or a list that starts with one.

    Raises:
        UserError: the file is damaged, or holds anything but plain values, which is refused and not run.
    """
    _check_size(path, LARGEST_SETTINGS, "any training's settings")
    try:
        held = _read_plain(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}; without it, give --encoder-layers and --decoder-layers") from None
    except Exception as error:  # as above
        raise UserError(f"{path}: damaged, or not written by torch ({error!r:.80})") from None
    if isinstance(held, (list, tuple)) and held:
        held = held[0]
    if isinstance(held, _Namespace):
        held = vars(held)
    if not isinstance(held, dict):
        raise UserError(f"{path}: not the settings of a training (an argparse namespace)")
    return {str(key): value for key, value in held.items()}


def _check_size(path: Path, largest: int, what: str) -> None:
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not a checkpoint")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if size > largest:
        raise UserError(f"{path}: {size} bytes is larger than {what}")


def _check_unpacked_size(path: Path) -> None:
    """What torch writes is not compressed, but a small file that unpacks to fill all memory is soon made."""
    with contextlib.suppress(OSError, zipfile.BadZipFile, ValueError), zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
        if size > LARGEST_CHECKPOINT:
            raise UserError(f"{path}: unpacks to {size} bytes, more than any checkpoint of this kind")


def _unreadable(path: Path, error: Exception) -> UserError:
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused is not None:
        return UserError(f"{path}: refused, and not run: it holds {refused[1]}, which is neither weights nor a value")
    reason = str(error).strip() or type(error).__name__
    if reason.startswith("Weights only load failed"):  # and then advice to load it anyway
        reason = "it is not made of weights and plain values"
    return UserError(f"{path}: damaged, or not weights that torch wrote ({reason.splitlines()[0]:.100})")


def _arrays(path: Path, key: str, state: object) -> Tensors:
    import torch

    if not isinstance(state, Mapping):
        raise UserError(f"{path}: {key} is not a state dictionary")
    arrays: Tensors = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise UserError(f"{path}: {key} holds {name!r:.60}, which is not a tensor under a name")
        if tensor.layout != torch.strided or not tensor.dtype.is_floating_point:
            raise UserError(f"{path}: {key} {name} is {tensor.dtype} {tensor.layout}, not plain real numbers")
        # A view may claim to be larger than all memory, by strides of 0.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"{path}: {key} {name} claims more values than the file holds")
        array = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {key} {name} holds values that are not finite")
        arrays[name.removeprefix("module.")] = array
    return arrays


class _Namespace:
    """What an argparse.Namespace becomes: attributes, no behaviour."""


def _text(*parts: object) -> str:
    return "/".join(map(str, parts))


# What settings may name, and what stands for it here.
_PLAIN: dict[tuple[str, str], Callable[..., Any]] = {
    ("argparse", "Namespace"): _Namespace,
    ("collections", "OrderedDict"): dict,
    ("torch", "device"): _text,
    **{
        (module, name): _text
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}


class _PlainUnpickler(pickle._Unpickler):  # the C one can be made to fill all memory
    """Builds plain values only; refuses whatever else a pickle names."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _PLAIN[module, name]
        except KeyError:
            raise UserError(f"refused, and not run: it holds {module}.{name}, which is not a plain value") from None

    def persistent_load(self, identifier: object) -> Any:
        raise UserError("refused: it holds tensors, and settings have none")


def _read_plain(data: bytes) -> Any:
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                data = file.read(LARGEST_SETTINGS + 1)  # it may unpack to far more
        if len(data) > LARGEST_SETTINGS:
            raise UserError("larger than any training's settings")
        return _PlainUnpickler(io.BytesIO(data)).load()
    file = io.BytesIO(data)
    held = _PlainUnpickler(file).load()
    if held == _LEGACY_MAGIC:  # then the protocol's version, the machine, and what was saved
        for _ in range(3):
            held = _PlainUnpickler(file).load()
    return held
