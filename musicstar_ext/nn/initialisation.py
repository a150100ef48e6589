"""A start for deep residual networks from which the first steps already learn; the paper's recipe uses torch's own.

With torch's uniform start each convolution shrinks its input's variance threefold, so that little of the deeper layers,
and less of the condition, reaches the output at first. Here every convolution keeps the variance, and each of the L
layers adds 1/L of it to the residual and skip sums.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .convolution import Convolution
from .decoder import GatedResidualLayer, WaveNetDecoder
from .encoder import MusicStarLayer, UniversalLayer
from .weights import WaveNet

INPUT_DEVIATION = 0.3  # of code/255 - 0.5 on music, roughly: mu-law brings quiet samples up
GATED_DEVIATION = 0.34  # of sigmoid(a) tanh(b), for independent unit normal a and b


def preserve_variance(network: WaveNet) -> None:
    """Draw the weights anew so that sums and layers keep unit variance; biases are zero."""
    share = 1 / math.sqrt(len(network.layers))  # of a layer in the sum over all
    for module in network.modules():
        if isinstance(module, Convolution):
            _draw(module, 1.0)
    for layer in network.layers:
        if isinstance(layer, GatedResidualLayer):
            _draw(layer.residual, share / GATED_DEVIATION)
            _draw(layer.skip, share / GATED_DEVIATION)
        elif isinstance(layer, UniversalLayer):
            _draw(layer.dilated, math.sqrt(2))  # the ReLU after it halves the mean square
            half_open = 2.0 if isinstance(layer, MusicStarLayer) else 1.0  # GLU: times a sigmoid near 1/2
            _draw(layer.pointwise, half_open * share)
    if isinstance(network, WaveNetDecoder):
        _draw(network.first, 1 / INPUT_DEVIATION)
        _draw(network.logits, 0.1)  # near the histogram that its bias may hold
    else:
        _draw(network.start, 1 / INPUT_DEVIATION)


def start_from_histogram(decoder: WaveNetDecoder, code_counts: NDArray[np.int64]) -> None:
    """Make the first prediction the codes' frequencies: the logits' bias is their logarithm; code_counts [classes]."""
    frequencies = (code_counts + 1) / (code_counts.sum() + code_counts.size)
    with torch.no_grad():
        decoder.logits.bias.copy_(torch.from_numpy(np.log(frequencies)))


def _draw(convolution: Convolution, gain: float) -> None:
    """Normal weights whose output has `gain` times its input's standard deviation, and zero biases."""
    nn.init.normal_(convolution.weight, std=gain / math.sqrt(convolution.weight[0].numel()))
    nn.init.zeros_(convolution.bias)
