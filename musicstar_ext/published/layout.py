"""The published names and shapes of tensors, and ours.

| published encoder | ours | | published decoder | ours |
|---|---|---|---|---|
| `start` | `start` | | `first_conv` | `first` |
| `dilated_convs.{i}.dilated_conv` | `layers.{i}.dilated` | | `skip_conv` | `first_skip` |
| Fig. 4a: `dilated_convs.{i}.conv_1x1` | `layers.{i}.pointwise` | | `layers.{i}.causal` | `layers.{i}.dilated` |
| Fig. 4b: `dilated_convs.{i}.extra` | `layers.{i}.pointwise` | | `layers.{i}.condition`, `residual`, `skip` | same |
| Fig. 4b: `dilated_convs.{i}.conv_1x1` | unused, left out | | `fc` | `head` |
| `conv_1x1` | `code` | | `condition` | `head_condition` |
| | | | `logits` | `logits` |

Both sides hold convolutions as (out, in, kernel), and the first half of a gated layer's channels is the gate of the
decoder and the value of the encoder's GLU on both. All sizes can be read off the weights but one: in how many blocks
the layers are, each of which starts again with dilation 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, EncoderKind, Shapes
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.errors import UserError

POOL = 800  # where the settings do not say
MOST_IN_A_BLOCK = 20


def import_encoder(state: Tensors, settings: Mapping[str, Any], layers: int | None) -> tuple[EncoderConfig, Tensors]:
    """A published encoder with our names.

    Args:
        state: its tensors under the published names.
        settings: of the training, of which only what the weights do not say is used: blocks and layers, `encoder_pool`
            and `encoder_func`. (Its `latent_d` is known to be wrong for some decoders.)
        layers: in a block, instead of what the settings say.

    Raises:
        UserError: tensors missing, unknown or of shapes that do not fit together (the first is named), layers that may
            be cut into blocks in several ways, or an encoder that computes something else.
    """
    kind: EncoderKind = "music-star" if any(".extra." in name for name in state) else "universal"
    function = settings.get("encoder_func", "relu")
    if function != "relu":
        raise UserError(f"the encoder has the activation {function!r}; relu is the only one that can be imported")
    pool = settings.get("encoder_pool", POOL)
    channels, _, kernel = _shape(state, "start.weight")
    if kernel != 3:
        raise UserError(f"start.weight has a kernel of {kernel}; the published encoders have 3")
    config = EncoderConfig(
        kind=kind,
        channels=channels,
        kernel_size=kernel,
        code_channels=_shape(state, "conv_1x1.weight")[0],
        pool=pool,
        **_blocks(state, "dilated_convs", "encoder", settings, layers),
    )
    names = {}
    for ours in config.tensor_shapes():
        theirs = re.sub(r"^code\.", "conv_1x1.", ours).replace("layers.", "dilated_convs.")
        theirs = theirs.replace(".dilated.", ".dilated_conv.")
        names[ours] = theirs.replace(".pointwise.", ".extra." if kind == "music-star" else ".conv_1x1.")
    unused = re.compile(r"dilated_convs\.\d+\.conv_1x1\.(weight|bias)" if kind == "music-star" else r"(?!)")
    return config, _renamed({name: t for name, t in state.items() if not unused.fullmatch(name)}, names, config)


def import_decoder(state: Tensors, settings: Mapping[str, Any], layers: int | None) -> tuple[DecoderConfig, Tensors]:
    """A published decoder with our names; arguments and errors as `import_encoder`."""
    residual, _, kernel = _shape(state, "first_conv.weight")
    config = DecoderConfig(
        residual_channels=residual,
        skip_channels=_shape(state, "skip_conv.weight")[0],
        kernel_size=kernel,
        condition_channels=_shape(state, "condition.weight")[1],
        classes=_shape(state, "logits.weight")[0],
        pool=settings.get("encoder_pool", POOL),
        **_blocks(state, "layers", "decoder", settings, layers),
    )
    ours_to_theirs = {"first": "first_conv", "first_skip": "skip_conv", "head": "fc", "head_condition": "condition"}
    names = {}
    for ours in config.tensor_shapes():
        module, _, rest = ours.partition(".")
        names[ours] = f"{ours_to_theirs.get(module, module)}.{rest}".replace(".dilated.", ".causal.")
    return config, _renamed(state, names, config)


def hearing_part(config: DecoderConfig, weights: Tensors, part: int, parts: int) -> tuple[DecoderConfig, Tensors]:
    """A decoder that hears one part of a code that is `parts` times as wide as its conditions; zeros for the others."""
    width = config.condition_channels
    wider = replace(config, condition_channels=parts * width)
    widened = dict(weights)
    for name in weights:
        if name.endswith("condition.weight"):
            widened[name] = np.zeros((weights[name].shape[0], parts * width, 1), np.float32)
            widened[name][:, part * width : (part + 1) * width] = weights[name]
    return wider, widened


def _blocks(
    state: Tensors, module: str, network: str, settings: Mapping[str, Any], in_a_block: int | None
) -> dict[str, int]:
    """How many blocks of how many layers, as the fields of a config."""
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{module}\.(\d{{1,9}})\.", name))]
    count = max(numbers, default=-1) + 1
    if not count:
        raise UserError(f"no tensors of {module}.0, the {network}'s first layer")
    prefix = "encoder_" if network == "encoder" else ""
    blocks, layers = settings.get(f"{prefix}blocks"), settings.get(f"{prefix}layers")
    if in_a_block is not None:
        layers, blocks = in_a_block, count // in_a_block
    elif layers is None or blocks is None:
        ways = [n for n in range(1, MOST_IN_A_BLOCK + 1) if count % n == 0]
        raise UserError(
            f"the {count} layers of the {network} may be {', '.join(f'{count // n} x {n}' for n in ways)}: there is no "
            f"args.pth beside it that says so, so give --{network}-layers N, the number in a block"
        )
    if not all(isinstance(n, int) for n in (blocks, layers)) or blocks * layers != count:
        raise UserError(f"the {network} has {count} layers, which are not {blocks} blocks of {layers}")
    return {"blocks": blocks, "layers": layers}


def _shape(state: Tensors, name: str) -> tuple[int, int, int]:
    tensor = state.get(name)
    if tensor is None:
        raise UserError(f"tensor {name} is missing")
    if tensor.ndim != 3 or not tensor.size:
        raise UserError(f"tensor {name} has shape {tensor.shape}, not that of a convolution")
    out, inputs, kernel = tensor.shape
    return out, inputs, kernel


def _renamed(state: Tensors, names: Mapping[str, str], config: EncoderConfig | DecoderConfig) -> Tensors:
    """The tensors under our names, given {ours: theirs}."""
    shapes: Shapes = config.tensor_shapes()
    known = set(names.values())
    for theirs in state:
        if theirs not in known:
            raise UserError(f"tensor {theirs} is unknown")
    for ours, theirs in names.items():
        if theirs not in state:
            raise UserError(f"tensor {theirs} is missing")
        if state[theirs].shape != shapes[ours]:
            raise UserError(f"tensor {theirs} has shape {state[theirs].shape}, others say {shapes[ours]}")
    return {ours: state[theirs] for ours, theirs in names.items()}
