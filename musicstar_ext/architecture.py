"""The sizes of every network, and the names and shapes of their tensors.

One description serves everyone who needs it: the torch modules are built from it, checkpoints carry it as JSON, the
native core is constructed from it, and a checkpoint is checked against `tensor_shapes()` before a byte reaches the
core. It imports neither torch nor the core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .errors import UserError

Shapes = dict[str, tuple[int, ...]]
EncoderKind = Literal["universal", "music-star"]

LARGEST_SIZE = 1 << 20  # of any one size: keeps a hostile header from asking for terabytes
MOST_LAYERS = 1_000  # of one network: keeps it from asking for millions of tensor names


def dilations(blocks: int, layers: int) -> tuple[int, ...]:
    """Dilation of every layer: 1, 2, 4, ... 2^(layers-1), repeated for each block."""
    return tuple(2**layer for _ in range(blocks) for layer in range(layers))


class _NetworkConfig:
    """What the configs share: validation, JSON in and out."""

    type_name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name == "kind":
                if value not in get_args(EncoderKind):
                    raise UserError(
                        f"{self.type_name}: kind must be one of {', '.join(get_args(EncoderKind))}, not {value!r}"
                    )
            elif not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_SIZE:
                raise UserError(f"{self.type_name}: {field.name} must be a positive integer, not {value!r}")
        if getattr(self, "layers", 1) > 20:
            raise UserError(f"{self.type_name}: layers must be at most 20 (a dilation of 2^19), not {self.layers}")  # type: ignore[attr-defined]
        if getattr(self, "blocks", 1) * getattr(self, "layers", 1) > MOST_LAYERS:
            raise UserError(f"{self.type_name}: blocks x layers must be at most {MOST_LAYERS}")

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type_name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class EncoderConfig(_NetworkConfig):
    """A WaveNet encoder: Fig. 4a ("universal", plain 1x1) or Fig. 4b ("music-star", GLU) of Music-STAR.

    `pool` is the number of samples that one code frame summarises (800 at 16 kHz: 50 ms).
    """

    type_name: ClassVar[str] = "encoder"

    kind: EncoderKind = "music-star"
    blocks: int = 4
    layers: int = 14
    channels: int = 128
    kernel_size: int = 3
    code_channels: int = 64
    pool: int = 800

    @property
    def dilations(self) -> tuple[int, ...]:
        return dilations(self.blocks, self.layers)

    @property
    def pointwise_channels(self) -> int:
        """Outputs of a layer's 1x1: twice the channels where a GLU halves them again."""
        return 2 * self.channels if self.kind == "music-star" else self.channels

    def tensor_shapes(self) -> Shapes:
        c, k = self.channels, self.kernel_size
        shapes: Shapes = {"start.weight": (c, 1, k), "start.bias": (c,)}
        for i in range(self.blocks * self.layers):
            shapes[f"layers.{i}.dilated.weight"] = (c, c, k)
            shapes[f"layers.{i}.dilated.bias"] = (c,)
            shapes[f"layers.{i}.pointwise.weight"] = (self.pointwise_channels, c, 1)
            shapes[f"layers.{i}.pointwise.bias"] = (self.pointwise_channels,)
        shapes["code.weight"] = (self.code_channels, c, 1)
        shapes["code.bias"] = (self.code_channels,)
        return shapes


@dataclass(frozen=True)
class DecoderConfig(_NetworkConfig):
    """The WaveNet decoder of Music-STAR section 3 ("identical to [7]").

    `pool` is the number of samples that share one conditioning frame; it equals the encoder's.
    """

    type_name: ClassVar[str] = "decoder"

    blocks: int = 4
    layers: int = 10
    residual_channels: int = 128
    skip_channels: int = 128
    kernel_size: int = 2
    condition_channels: int = 64
    classes: int = 256
    pool: int = 800

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.classes <= 256:
            raise UserError(f"decoder: classes must be between 2 and 256 (codes are bytes), not {self.classes}")

    @property
    def dilations(self) -> tuple[int, ...]:
        return dilations(self.blocks, self.layers)

    @property
    def receptive_field(self) -> int:
        """Number of past input samples that one output depends on (4094 at full size: 4093 and the newest)."""
        return 1 + (self.kernel_size - 1) * (1 + sum(self.dilations))

    def tensor_shapes(self) -> Shapes:
        r, s, c, k = self.residual_channels, self.skip_channels, self.condition_channels, self.kernel_size
        shapes: Shapes = {
            "first.weight": (r, 1, k),
            "first.bias": (r,),
            "first_skip.weight": (s, r, 1),
            "first_skip.bias": (s,),
        }
        for i in range(self.blocks * self.layers):
            shapes[f"layers.{i}.dilated.weight"] = (2 * r, r, k)
            shapes[f"layers.{i}.dilated.bias"] = (2 * r,)
            shapes[f"layers.{i}.condition.weight"] = (2 * r, c, 1)
            shapes[f"layers.{i}.condition.bias"] = (2 * r,)
            shapes[f"layers.{i}.residual.weight"] = (r, r, 1)
            shapes[f"layers.{i}.residual.bias"] = (r,)
            shapes[f"layers.{i}.skip.weight"] = (s, r, 1)
            shapes[f"layers.{i}.skip.bias"] = (s,)
        shapes["head.weight"] = (s, s, 1)
        shapes["head.bias"] = (s,)
        shapes["head_condition.weight"] = (s, c, 1)
        shapes["head_condition.bias"] = (s,)
        shapes["logits.weight"] = (self.classes, s, 1)
        shapes["logits.bias"] = (self.classes,)
        return shapes


NetworkConfig = EncoderConfig | DecoderConfig
_CONFIGS: dict[str, type[EncoderConfig] | type[DecoderConfig]] = {"encoder": EncoderConfig, "decoder": DecoderConfig}


def network_from_json(name: str, description: Any) -> NetworkConfig:
    """Read one network's config; `name` is only for the error message.

    Raises:
        UserError: an unknown type, an unknown or missing size, or a size out of range.
    """
    if not isinstance(description, Mapping) or description.get("type") not in _CONFIGS:
        known = ", ".join(_CONFIGS)
        raise UserError(f"network {name!r}: unknown type {description!r:.60}; this version knows: {known}")
    config = _CONFIGS[description["type"]]
    sizes = {key: value for key, value in description.items() if key != "type"}
    expected = {field.name for field in dataclasses.fields(config)}
    if sizes.keys() != expected:
        odd = ", ".join(sorted(sizes.keys() ^ expected))
        raise UserError(f"network {name!r}: unknown or missing sizes: {odd}")
    return config(**sizes)


def parameter_count(config: NetworkConfig) -> int:
    total = 0
    for shape in config.tensor_shapes().values():
        size = 1
        for n in shape:
            size *= n
        total += size
    return total
