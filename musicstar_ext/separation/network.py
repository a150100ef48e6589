"""The waveform Demucs of 2019 (Defossez et al., arXiv:1911.13254), as the `demucs` package's class with its settings.

Each of `depth` layers is a convolution of stride 4, ReLU, 1x1 convolution and GLU; a bidirectional LSTM follows the
innermost, and the way up mirrors the way down (convolution of 3, GLU, transposed convolution, ReLU), with a sum of the
layer that it mirrors before each step. What later versions added is switched off: `dconv_mode=0` (residual branches),
`norm_starts` beyond the depth (group norm), `gelu=False`, `normalize=False`.

Parameters, their shapes and `rescale=0.1` are those of the 2019 code; the structure differs from it in two things.
There, the convolutions of 3 on the way up had no padding (`context=3`), so an input lost its ends and had to be longer
than the output; here (`context=1`: one neighbour on each side) they are padded with zeros and the length is kept. And
the oversampling by 2, which came in 2020, is part of the model that Music-STAR trained; `oversampling=1` is without.
"""

from __future__ import annotations

from torch import Tensor

from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.errors import MissingExtraError

try:
    from demucs.demucs import Demucs
except ImportError:
    raise MissingExtraError("demucs", "separation") from None

INPUT_GAIN = 10.0
"""What the network hears is the audio times this: near unit variance for music at -20 dBFS, which is what its initial
weights and biases suit. The published code divides each track by its standard deviation, which a stream cannot know."""


class SeparatorNetwork(Demucs):
    """Demucs by our config; the names and shapes of its `state_dict()` are the config's `tensor_shapes()`."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__(
            list(config.sources),
            audio_channels=config.audio_channels,
            channels=config.channels,
            growth=config.growth,
            depth=config.depth,
            lstm_layers=config.lstm_layers,
            kernel_size=config.kernel_size,
            stride=config.stride,
            context=1,
            gelu=False,
            norm_starts=config.depth + 1,
            dconv_mode=0,
            normalize=False,
            resample=config.oversampling == 2,
            rescale=0.1,
            samplerate=config.sample_rate,
        )
        self.config = config

    def forward(self, mixture: Tensor) -> Tensor:
        """Split [B, audio_channels, T] into [B, sources, audio_channels, T], full scale at 1; any T from 1 on."""
        stems: Tensor = super().forward(INPUT_GAIN * mixture)
        return stems / INPUT_GAIN
