"""The published networks' equations in plain torch, written from their description and sharing no code with ours.

State dictionaries have the published names; every convolution has its bias.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, glu, pad

State = dict[str, Tensor]


def _conv(state: State, name: str, x: Tensor, **options: int) -> Tensor:
    return conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)


def encode(state: State, codes: Tensor, blocks: int, layers: int, gated: bool, pool: int = 800) -> Tensor:
    """Codes [T] -> [C, F]: start, residual layers with dilations 1, 2, 4, ... in every block, 1x1, average pooling."""
    x = (codes / 255 - 0.5)[None, None]
    x = _conv(state, "start", x, padding=1)
    for i in range(blocks * layers):
        dilation = 2 ** (i % layers)
        h = torch.relu(_conv(state, f"dilated_convs.{i}.dilated_conv", x, padding=dilation, dilation=dilation))
        h = (
            glu(_conv(state, f"dilated_convs.{i}.extra", h), 1)
            if gated
            else _conv(state, f"dilated_convs.{i}.conv_1x1", h)
        )
        x = x + h
    return torch.nn.functional.avg_pool1d(_conv(state, "conv_1x1", x), pool)[0]


def decode(state: State, codes: Tensor, code: Tensor, blocks: int, layers: int) -> Tensor:
    """Codes [T] and frames [C, T / 800] -> logits [256, T], teacher-forced."""
    c = code.repeat_interleave(codes.shape[0] // code.shape[1], dim=1)[None]
    x = (codes / 255 - 0.5)[None, None]
    x = torch.cat([torch.zeros(1, 1, 1), x[:, :, :-1]], dim=2)  # one sample late

    def causal(name: str, x: Tensor, dilation: int) -> Tensor:
        return _conv(state, name, pad(x, (dilation, 0)), dilation=dilation)

    r = causal("first_conv", x, 1)
    s = _conv(state, "skip_conv", r)
    for i in range(blocks * layers):
        h = causal(f"layers.{i}.causal", r, 2 ** (i % layers)) + _conv(state, f"layers.{i}.condition", c)
        gate, value = h.chunk(2, 1)
        z = torch.sigmoid(gate) * torch.tanh(value)
        r = r + _conv(state, f"layers.{i}.residual", z)
        s = s + _conv(state, f"layers.{i}.skip", z)
    s = _conv(state, "fc", torch.relu(s)) + _conv(state, "condition", c)
    return _conv(state, "logits", torch.relu(s))[0]


def _random(state: State, name: str, out: int, inputs: int, kernel: int = 1, gain: float = 1.0) -> None:
    state[f"{name}.weight"] = gain * torch.randn(out, inputs, kernel) / (inputs * kernel) ** 0.5
    state[f"{name}.bias"] = 0.05 * torch.randn(out)


def random_encoder(layers: int, gated: bool, channels: int = 128, code: int = 64, seed: int = 0) -> State:
    """`layers` in all; as published, those of Fig. 4b have a 1x1 that is not used beside the one that is."""
    torch.manual_seed(seed)
    state: State = {}
    _random(state, "start", channels, 1, 3)
    for i in range(layers):
        _random(state, f"dilated_convs.{i}.dilated_conv", channels, channels, 3)
        _random(state, f"dilated_convs.{i}.conv_1x1", channels, channels, gain=0.3)  # 30 layers stay of order 1
        if gated:
            _random(state, f"dilated_convs.{i}.extra", 2 * channels, channels)
    _random(state, "conv_1x1", code, channels)
    return state


def random_decoder(layers: int, code: int = 64, residual: int = 128, skip: int = 128, seed: int = 1) -> State:
    """`layers` in all."""
    torch.manual_seed(seed)
    state: State = {}
    for i in range(layers):
        _random(state, f"layers.{i}.causal", 2 * residual, residual, 2)
        _random(state, f"layers.{i}.condition", 2 * residual, code)
        _random(state, f"layers.{i}.residual", residual, residual)
        _random(state, f"layers.{i}.skip", skip, residual)
    _random(state, "first_conv", residual, 1, 2)
    _random(state, "skip_conv", skip, residual)
    _random(state, "condition", skip, code)
    _random(state, "fc", skip, skip)
    _random(state, "logits", 256, skip)
    return state
