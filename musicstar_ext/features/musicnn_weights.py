"""musicnn's weights: those of the PyPI package `musicnn`, converted, shipped here under their own licence (ISC).

`python -m musicstar_ext.features convert-musicnn` makes the shipped file again from the package (`pip install --no-deps
musicnn`; without `--no-deps` that would bring an old TensorFlow).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.tensor_file import read_tensors, write_tensors

from .tensorflow_checkpoint import read_tensors as read_tensorflow

KIND = "musicnn"
MODEL = "MSD_vgg"
INDEX, DATA = ".index", ".data-00000-of-00001"
SHIPPED = Path(__file__).with_name("musicnn-msd-vgg.safetensors")
CHANNELS, CONVOLUTIONS, TAGS = 128, 5, 50

_LABELS = """
rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, beautiful, metal,
chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk, 90s, chill, instrumental,
punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, party, country,
easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock, 60s, rnb, indie pop, sad, House, happy
"""
LABELS = tuple(label.strip() for label in _LABELS.split(","))
"""The tags, in the network's order."""

LICENCE = """\
Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019. Code developed by Jordi Pons (www.jordipons.me).

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE.
"""
"""musicnn's own (ISC), which goes into the file."""

Weights = dict[str, NDArray[np.float32]]

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of `musicnn.Vgg`."""
    shapes: dict[str, tuple[int, ...]] = {f"input_norm.{part}": (1,) for part in _NORM}
    for number in range(CONVOLUTIONS):
        shapes[f"convolutions.{number}.weight"] = (CHANNELS, CHANNELS if number else 1, 3, 3)
        shapes[f"convolutions.{number}.bias"] = (CHANNELS,)
        shapes |= {f"norms.{number}.{part}": (CHANNELS,) for part in _NORM}
    return shapes | {"tags.weight": (TAGS, 2 * CHANNELS), "tags.bias": (TAGS,)}


def tensorflow_name(name: str) -> str:
    """The checkpoint's name for a tensor of `musicnn.Vgg`."""
    parts = name.split(".")
    kind = {"weight": "kernel", "bias": "bias"}
    if parts[0] == "input_norm":
        return f"batch_normalization/{_NORM[parts[1]]}"
    if parts[0] == "norms":
        return f"batch_normalization_{int(parts[1]) + 1}/{_NORM[parts[2]]}"
    if parts[0] == "convolutions":
        return f"{int(parts[1]) + 1}CNN/{kind[parts[2]]}"
    return f"dense/{kind[parts[1]]}"


def read_package(folder: Path) -> Weights:
    """The VGG's weights out of the package's folder (or its `MSD_vgg`), laid out as torch wants them.

    Raises:
        UserError: not that folder, or damaged files.
    """
    model = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (model / INDEX).is_file():
        raise UserError(f"{folder}: not the folder of the package musicnn: it has no {MODEL}/{INDEX}")
    shapes = tensor_shapes()
    names = {name: tensorflow_name(name) for name in shapes}
    read = read_tensorflow(model / INDEX, model / DATA, list(names.values()))
    weights = {}
    for name, shape in shapes.items():
        array = read[names[name]]
        if array.ndim == 4:  # height, width, in, out -> out, in, height, width
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        if array.shape != shape or not np.isfinite(array).all():
            raise UserError(f"{model / DATA}: tensor {names[name]} is not what musicnn's VGG has")
        weights[name] = np.ascontiguousarray(array)
    return weights


def installed_package() -> Path | None:
    """The folder of the package musicnn, which is not imported: that would need TensorFlow. None without it."""
    found = importlib.util.find_spec("musicnn")
    return Path(found.origin).parent if found and found.origin else None


def save(weights: Weights, path: Path) -> None:
    """Write converted weights, with the licence that they come under."""
    description = {"model": MODEL, "origin": "PyPI musicnn", "licence": LICENCE, "tags": list(LABELS)}
    write_tensors(path, KIND, weights, description)


def load_weights(path: Path | None = None) -> Weights:
    """Weights from a converted file; the shipped one where none is named.

    Raises:
        UserError: the file is missing, damaged, or something else.
    """
    return read_tensors(path or SHIPPED, KIND, tensor_shapes())[0]
