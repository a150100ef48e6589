"""The residual stacks and the whole autoencoder in plain PyTorch: the baselines of `training.py`.

Each stack comes in two forms, with the arguments of the operations that they stand beside: taps side by side in one
matrix product, as `musicstar_ext.nn` states it, and convolutions over channels-last images of one row (cuDNN, oneDNN).
Sequences are [B, T, C] in both; a channels-last image is the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from musicstar_ext.nn import MusicStarEncoder, WaveNetDecoder
from musicstar_ext.nn.convolution import halves, scaled_codes, shifted

Convolve = Callable[[Tensor, Tensor, "Tensor | None", Sequence[int]], Tensor]
Stack = Callable[..., Tensor]
Layers = Tensor | Sequence[Tensor]  # the tensors of all layers, stacked or one by one


def by_taps(x: Tensor, weight: Tensor, bias: Tensor | None, offsets: Sequence[int]) -> Tensor:
    """One product of x [B, T, I] and weight [O, I, K] -> [B, T, O]; tap k reads x[t + offsets[k]]."""
    taps = torch.cat([shifted(x, offset) for offset in offsets], dim=-1) if len(offsets) > 1 else x
    return functional.linear(taps, weight.transpose(1, 2).flatten(1), bias)


def by_images(x: Tensor, weight: Tensor, bias: Tensor | None, offsets: Sequence[int]) -> Tensor:
    """The same as a convolution over channels-last images."""
    image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T], its channels neighbours in memory
    before, after = max(0, -offsets[0]), max(0, offsets[-1])
    dilation = offsets[1] - offsets[0] if len(offsets) > 1 else 1
    kernel = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    if before == after:
        y = functional.conv2d(image, kernel, bias, padding=(0, before), dilation=(1, dilation))
    else:
        y = functional.conv2d(functional.pad(image, (before, after)), kernel, bias, dilation=(1, dilation))
    return y.squeeze(2).transpose(1, 2)


def gated_residual_stack(convolve: Convolve) -> Stack:
    """The decoder's stack; frames * pool == T here."""

    def stack(
        x: Tensor,
        condition: Layers,
        dilated: Layers,
        residual: Layers,
        residual_bias: Layers,
        skip: Layers,
        dilations: Sequence[int],
        pool: int,
    ) -> Tensor:
        kernel_size = dilated[0].shape[2]
        total: Tensor | None = None
        for i, dilation in enumerate(dilations):
            offsets = [(k + 1 - kernel_size) * dilation for k in range(kernel_size)]
            h = convolve(x, dilated[i], None, offsets).unflatten(1, (-1, pool))
            gate, filter_ = halves((h + condition[i].unsqueeze(2)).flatten(1, 2))
            z = torch.sigmoid(gate) * torch.tanh(filter_)
            x = x + convolve(z, residual[i].unsqueeze(2), residual_bias[i], [0])
            part = convolve(z, skip[i].unsqueeze(2), None, [0])
            total = part if total is None else total + part
        assert total is not None
        return total

    return stack


def glu_residual_stack(convolve: Convolve) -> Stack:
    """The encoders' stack, Fig. 4b where `gated`."""

    def stack(
        x: Tensor,
        dilated: Layers,
        dilated_bias: Layers,
        pointwise: Layers,
        pointwise_bias: Layers,
        dilations: Sequence[int],
        gated: bool,
    ) -> Tensor:
        kernel_size = dilated[0].shape[2]
        for i, dilation in enumerate(dilations):
            offsets = [(k - kernel_size // 2) * dilation for k in range(kernel_size)]
            a = torch.relu(convolve(x, dilated[i], dilated_bias[i], offsets))
            p = convolve(a, pointwise[i].unsqueeze(2), pointwise_bias[i], [0])
            if gated:
                value, gate = halves(p)
                p = value * torch.sigmoid(gate)
            x = x + p
        return x

    return stack


def autoencoder_logits(
    encoder: MusicStarEncoder, decoder: WaveNetDecoder, source: Tensor, target: Tensor, convolve: Convolve
) -> Tensor:
    """Codes [B, T] of a recording and of what the decoder is to predict -> logits [B, T, A], all by one `convolve`.

    T is a multiple of the frames' length here.
    """
    layers = list(encoder.layers)
    code = glu_residual_stack(convolve)(
        encoder.start(scaled_codes(source, encoder.start.bias)),
        [layer.dilated.weight for layer in layers],
        [layer.dilated.bias for layer in layers],
        [layer.pointwise.weight[:, :, 0] for layer in layers],
        [layer.pointwise.bias for layer in layers],
        encoder.config.dilations,
        encoder.config.kind == "music-star",
    )
    code = encoder.code(code.unflatten(1, (-1, encoder.config.pool)).mean(dim=2))  # [B, F, C]

    r = decoder.first(shifted(scaled_codes(target, decoder.first.bias), -1))
    gated = list(decoder.layers)
    s = gated_residual_stack(convolve)(
        r,
        [layer.condition(code) + layer.dilated.bias for layer in gated],
        [layer.dilated.weight for layer in gated],
        [layer.residual.weight[:, :, 0] for layer in gated],
        [layer.residual.bias for layer in gated],
        [layer.skip.weight[:, :, 0] for layer in gated],
        decoder.config.dilations,
        decoder.config.pool,
    )
    s = s + decoder.first_skip(r) + torch.stack([layer.skip.bias for layer in gated]).sum(0)
    s = decoder.head(torch.relu(s)).unflatten(1, (-1, decoder.config.pool))
    s = (s + decoder.head_condition(code).unsqueeze(2)).flatten(1, 2)
    logits: Tensor = decoder.logits(torch.relu(s))
    return logits
