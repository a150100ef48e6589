"""The expected spectrum: which power the code says that the target has, frequency by frequency (docs/shaping.md).

    log E = 1x1(ReLU(1x1(ReLU(convolution over code frames))))

It learns by the likelihood of the target's spectra P, were the target noise of the spectrum E: P / E + log E (Whittle
1953). Less the same for E = P it is never negative, the Itakura-Saito distance: P / E - log(P / E) - 1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from musicstar_ext.architecture import SpectrumConfig
from musicstar_ext.runtime.core import core

from .convolution import Convolution

CODE_DEVIATION = 0.2  # of a trained code, roughly: the first weights bring it to one
FLOOR = SpectrumConfig.floor
LARGEST_RATIO = 100.0  # of P to E that counts: an onset that the code comes late to tells nothing more


class SpectrumNetwork(nn.Module):
    """Code frames -> the logarithm of the expected power of each frequency."""

    def __init__(self, config: SpectrumConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_channels
        self.first = Convolution(config.code_channels, hidden, config.kernel_size)
        self.second = Convolution(hidden, hidden)
        self.log_power = Convolution(hidden, config.bins)

    def start(self, power: Tensor) -> None:
        """Draw the weights anew, so that the mean of these spectra [..., bins] is what is expected at first."""
        deviations = ((self.first, math.sqrt(2) / CODE_DEVIATION), (self.second, math.sqrt(2)), (self.log_power, 0.1))
        for convolution, gain in deviations:
            nn.init.normal_(convolution.weight, std=gain / math.sqrt(convolution.weight[0].numel()))
            nn.init.zeros_(convolution.bias)
        with torch.no_grad():
            self.log_power.bias.copy_((power.flatten(0, -2).mean(dim=0) + FLOOR).log())

    def forward(self, code: Tensor) -> Tensor:
        """[B, C, F] -> [B, F, bins]."""
        hidden = torch.relu(self.first(code.transpose(1, 2)))
        return self.log_power(torch.relu(self.second(hidden)))


def power_spectra(audio: Tensor, config: SpectrumConfig) -> tuple[Tensor, slice]:
    """Power spectra around the middles of code frames, as far as their windows lie within the audio.

    Shape:
        audio [B, T] -> [B, F, bins], and which of the T / pool frames these F are. White noise has its variance
        in every bin.
    """
    window, pool = config.window, config.pool
    first = max(0, -(-(window - pool) // (2 * pool)))  # whose window begins at or after sample 0
    start = first * pool + pool // 2 - window // 2
    hann = torch.hann_window(window, device=audio.device)
    frames = audio[:, start:].unfold(1, window, pool) * (hann / hann.norm())  # [B, F, window]
    power = torch.fft.rfft(frames).abs().square()
    return power, slice(first, first + power.shape[1])


def distance(log_expected: Tensor, power: Tensor) -> Tensor:
    """Itakura-Saito distance of spectra to what was expected, the mean over frames and bins, in nats.

    It is 0 where every power is the expected one, and 0.58 (Euler's constant) for noise of exactly that spectrum.
    """
    log_ratio = (power + FLOOR).log() - log_expected
    ratio = log_ratio.clamp(max=math.log(LARGEST_RATIO))
    return (ratio.exp() - log_ratio - 1).mean()


def mu_law_decoded(codes: Tensor) -> Tensor:
    """Mu-law codes of any shape and integer type -> float32 audio, full scale at 1."""
    table = torch.from_numpy(core.mu_law_decode(np.arange(256, dtype=np.uint8))).to(codes.device)
    return table[codes.long()]
