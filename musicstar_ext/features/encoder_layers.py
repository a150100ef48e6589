"""The layers of an encoder of ours (Fig. 4), as features: what it knows on the way from the waveform to the code.

Hidden layers run at the sample rate; the code has a frame every `pool` samples. A hidden layer's frame is the mean and
the standard deviation of each channel over those samples: the mean is all that a later 1x1 and the pooling could pass
on, but a waveform oscillates, and a mean alone would call what it carries nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from musicstar_ext import checkpoints
from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.nn import build_encoder, load_weights
from musicstar_ext.nn.convolution import scaled_codes
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.gain import input_gain
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.samples import Audio

from .extractor import Features, check_request, digest

MOST_HIDDEN = 5  # layers shown of a deep encoder, besides the first and the last
CODE = "code"
PIECE_SECONDS = 20.0  # computed at once; pieces overlap by the receptive field


class EncoderLayers:
    """An encoder of a checkpoint. Recordings are brought to the level that it was trained at, as in translation.

    Args:
        checkpoint: read from its file.
        network: the encoder's name; may be left out where there is one only.
        name: what people call it.

    Attributes:
        source: the track that it was trained to hear.

    Raises:
        UserError: the checkpoint has no encoder of that name, or none, or several and none was named.
    """

    default_layer = CODE

    def __init__(self, checkpoint: Checkpoint, network: str = "", name: str = "encoder") -> None:
        encoders = encoder_names(checkpoint)
        if not network and len(encoders) > 1:
            raise UserError(f"{name}: has several encoders, say which: {', '.join(encoders)}")
        network = network or (encoders[0] if encoders else "")
        if network not in encoders:
            has = f"it has {', '.join(encoders)}" if encoders else "it has none"
            raise UserError(f"{name}: no encoder {network!r}; {has}")
        config = checkpoint.networks[network]
        assert isinstance(config, EncoderConfig)
        self.config = config
        self.name = f"{name}:{network}" if len(encoders) > 1 else name
        sources = [branch.source for branch in checkpoint.branches if branch.encoder == network]
        self.source = sources[0] if sources else ""
        self._level = checkpoint.levels.get(self.source)
        self._module = build_encoder(config).eval()
        load_weights(self._module, checkpoint.weights[network])
        self._wanted = _shown(len(config.dilations))
        self.layers: Mapping[str, int] = {
            **dict.fromkeys(self._wanted.values(), 2 * config.channels),
            CODE: config.code_channels,
        }
        self.identity = f"encoder-{digest(checkpoint.weights[network])}-{config.pool}-{self._level}"
        self.frame_rate = checkpoint.sample_rate / config.pool

    @classmethod
    def load(cls, path: Path, network: str = "") -> EncoderLayers:
        """From a checkpoint's file; errors as for the class and `checkpoints.load`."""
        return cls(checkpoints.load(path), network, path.stem)

    def features(self, samples: Audio, layers: Sequence[str] = (CODE,)) -> dict[str, Features]:
        """{layer: [ceil(N / pool), channels]}; the end is padded with silence to a whole frame.

        Raises:
            UserError: an unknown layer, or an empty recording.
        """
        check_request(self, samples, layers)
        gain = 1.0 if self._level is None else input_gain(gated_level_dbfs(samples), self._level)
        scaled = np.clip(samples * np.float32(gain), -1, 1)
        codes = core.mu_law_encode(np.pad(scaled, (0, -len(scaled) % self.config.pool)).astype(np.float32))
        found: dict[str, list[Features]] = {layer: [] for layer in layers}
        pool, field = self.config.pool, _reach(self.config)
        margin = -(-field // pool) * pool
        step = max(1, int(PIECE_SECONDS * 16_000) // pool) * pool
        for start in range(0, len(codes), step):
            first = max(0, start - margin)
            piece = codes[first : start + step + margin]
            computed = self._computed(torch.from_numpy(piece)[None], set(layers))
            skipped, frames = (start - first) // pool, min(step, len(codes) - start) // pool
            for layer in layers:
                found[layer].append(computed[layer][skipped : skipped + frames])
        return {layer: np.concatenate(parts) for layer, parts in found.items()}

    def _computed(self, codes: torch.Tensor, layers: set[str]) -> dict[str, Features]:
        module, pool = self._module, self.config.pool
        found: dict[str, Features] = {}
        with torch.inference_mode():
            x = module.start(scaled_codes(codes, module.start.bias))  # [1, T, channels]
            frames = codes.shape[1] // pool
            for number in range(len(module.layers) + 1):
                if number:
                    x = module.layers[number - 1](x)
                if (layer := self._wanted.get(number)) in layers:
                    cut = x[0].unflatten(0, (frames, pool))
                    means, squares = cut.mean(dim=1), cut.square().mean(dim=1)
                    spread = (squares - means.square()).clamp_min(0).sqrt()
                    found[str(layer)] = torch.cat([means, spread], dim=1).numpy()
            if CODE in layers:
                found[CODE] = module.code(x[0].unflatten(0, (frames, pool)).mean(dim=1)).numpy()
        return found


def encoder_names(checkpoint: Checkpoint) -> list[str]:
    """The names of a checkpoint's encoders."""
    return [name for name, config in checkpoint.networks.items() if isinstance(config, EncoderConfig)]


def _reach(config: EncoderConfig) -> int:
    """How far an output looks to either side, in samples."""
    return (config.kernel_size // 2) * (1 + sum(config.dilations))


def _shown(count: int) -> dict[int, str]:
    """{number of layers passed: name}: the start, at most `MOST_HIDDEN` between, evenly, and the last."""
    numbers = {round(count * place / (MOST_HIDDEN + 1)) for place in range(MOST_HIDDEN + 2)}
    if count <= MOST_HIDDEN + 1:
        numbers = set(range(count + 1))
    return {number: f"layer{number}" if number else "start" for number in sorted(numbers)}
