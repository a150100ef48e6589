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
            elif field.name == "sources":  # names, which their config checks
                continue
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


@dataclass(frozen=True)
class SpectrumConfig(_NetworkConfig):
    """From code frames to the power spectrum that the target is expected to have there (docs/shaping.md).

    A convolution over `kernel_size` code frames and two 1x1s, ReLU between them. `window` is the number of samples that
    a spectrum is of; `pool` and `code_channels` are the encoder's.
    """

    type_name: ClassVar[str] = "spectrum"
    floor: ClassVar[float] = 1e-9  # below any power that counts, full scale at 1: 8-bit mu-law has more noise on music

    code_channels: int = 64
    pool: int = 800
    kernel_size: int = 5
    hidden_channels: int = 384
    window: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size % 2 == 0:
            raise UserError(f"{self.type_name}: kernel_size must be odd, not {self.kernel_size}")
        if self.window % 16:
            raise UserError(f"{self.type_name}: window must be a multiple of 16, not {self.window}")

    @property
    def bins(self) -> int:
        """Of a spectrum, from 0 to half the sample rate."""
        return self.window // 2 + 1

    def tensor_shapes(self) -> Shapes:
        c, h = self.code_channels, self.hidden_channels
        return {
            "first.weight": (h, c, self.kernel_size),
            "first.bias": (h,),
            "second.weight": (h, h, 1),
            "second.bias": (h,),
            "log_power.weight": (self.bins, h, 1),
            "log_power.bias": (self.bins,),
        }


@dataclass(frozen=True)
class SeparatorSizes(_NetworkConfig):
    """The sizes of a waveform Demucs (Defossez et al., arXiv:1911.13254); the defaults are those of its 2019 code.

    `depth` layers down and up again, the first of `channels`, each next `growth` times as wide, convolutions of
    `kernel_size` and `stride`, between them a bidirectional LSTM of `lstm_layers`. The audio is oversampled before and
    reduced after, `oversampling` 1 (not at all) or 2 times.
    """

    type_name: ClassVar[str] = "demucs"

    channels: int = 64
    growth: int = 2
    depth: int = 6
    kernel_size: int = 8
    stride: int = 4
    lstm_layers: int = 2
    oversampling: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, most in (("depth", 20), ("lstm_layers", 20), ("oversampling", 2)):
            if getattr(self, field) > most:
                raise UserError(f"{self.type_name}: {field} must be at most {most}, not {getattr(self, field)}")
        if self.kernel_size < self.stride:
            raise UserError(f"{self.type_name}: kernel_size must be at least the stride, {self.stride}")
        if max(self.widths) > LARGEST_SIZE:
            raise UserError(f"{self.type_name}: channels x growth^(depth - 1) must be at most {LARGEST_SIZE}")
        if self.valid_length(1) > LARGEST_SIZE:
            raise UserError(f"{self.type_name}: kernel_size and stride^depth must span at most {LARGEST_SIZE} samples")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every layer, from the outermost to the innermost."""
        return tuple(self.channels * self.growth**layer for layer in range(self.depth))

    def valid_length(self, samples: int) -> int:
        """The shortest input of at least `samples` of which no convolution leaves a rest; others are padded to it."""
        length = samples * self.oversampling
        for _ in range(self.depth):
            length = max(1, -(-(length - self.kernel_size) // self.stride) + 1)
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel_size
        return -(-length // self.oversampling)

    def longest_valid_length(self, samples: int) -> int:
        """The longest input of at most `samples` that needs no padding; `samples` itself where there is none."""
        period = self.stride**self.depth // self.oversampling
        for candidate in (self.valid_length(samples), self.valid_length(max(1, samples - period))):
            if candidate <= samples:
                return candidate
        return samples


@dataclass(frozen=True)
class SeparatorConfig(SeparatorSizes):
    """A Demucs that splits `audio_channels` of audio at `sample_rate` hertz into the stems named by `sources`."""

    sources: tuple[str, ...] = ()
    audio_channels: int = 2
    sample_rate: int = 44_100

    def __post_init__(self) -> None:
        if not isinstance(self.sources, (tuple, list)) or not all(isinstance(name, str) for name in self.sources):
            raise UserError(f"{self.type_name}: sources must be a list of names, not {self.sources!r:.60}")
        object.__setattr__(self, "sources", tuple(self.sources))  # JSON has lists only
        if not 1 <= len(self.sources) <= 100 or len(set(self.sources)) < len(self.sources):
            raise UserError(f"{self.type_name}: sources must be 1 to 100 different names, not {self.sources!r:.60}")
        super().__post_init__()
        if self.audio_channels > 2:
            raise UserError(f"{self.type_name}: audio_channels must be 1 or 2, not {self.audio_channels}")

    def tensor_shapes(self) -> Shapes:
        """Names and shapes of the `demucs` package's own class: a checkpoint's tensors are its state."""
        k = self.kernel_size
        shapes: Shapes = {}
        inputs, outputs = self.audio_channels, len(self.sources) * self.audio_channels
        for layer, c in enumerate(self.widths):
            up = f"decoder.{self.depth - 1 - layer}"  # the decoder counts from the innermost layer
            shapes[f"encoder.{layer}.0.weight"] = (c, inputs, k)
            shapes[f"encoder.{layer}.0.bias"] = (c,)
            shapes[f"encoder.{layer}.3.weight"] = (2 * c, c, 1)
            shapes[f"encoder.{layer}.3.bias"] = (2 * c,)
            shapes[f"{up}.0.weight"] = (2 * c, c, 3)
            shapes[f"{up}.0.bias"] = (2 * c,)
            shapes[f"{up}.3.weight"] = (c, outputs, k)
            shapes[f"{up}.3.bias"] = (outputs,)
            inputs = outputs = c
        hidden = self.widths[-1]
        for layer in range(self.lstm_layers):
            for direction in ("", "_reverse"):
                name = f"l{layer}{direction}"
                shapes[f"lstm.lstm.weight_ih_{name}"] = (4 * hidden, 2 * hidden if layer else hidden)
                shapes[f"lstm.lstm.weight_hh_{name}"] = (4 * hidden, hidden)
                shapes[f"lstm.lstm.bias_ih_{name}"] = (4 * hidden,)
                shapes[f"lstm.lstm.bias_hh_{name}"] = (4 * hidden,)
        shapes["lstm.linear.weight"] = (hidden, 2 * hidden)
        shapes["lstm.linear.bias"] = (hidden,)
        return shapes


NetworkConfig = EncoderConfig | DecoderConfig | SpectrumConfig | SeparatorConfig
_CONFIGS: dict[str, type[NetworkConfig]] = {
    config.type_name: config for config in (EncoderConfig, DecoderConfig, SpectrumConfig, SeparatorConfig)
}


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
