"""The encoder as PyTorch's own convolutions (oneDNN, cuDNN), in both memory orders: the baseline of `encoder.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Tensors


class ConvolutionEncoder:
    """Codes [T] -> code frames [F, C], all samples at once, zeros around the audio in every layer.

    Args:
        dtype: of weights and activations; sums are fp32 inside the libraries either way.
        channels_last: convolutions over an image of one row with neighbouring channels, instead of conv1d.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: Tensors,
        dtype: torch.dtype,
        channels_last: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.dtype = dtype
        self.channels_last = channels_last
        self.tensors = {}
        for name, array in weights.items():
            tensor = torch.from_numpy(array).to(device, dtype)
            if channels_last and tensor.dim() == 3:
                tensor = tensor[:, :, None].contiguous(memory_format=torch.channels_last)
            self.tensors[name] = tensor

    def convolution(self, x: Tensor, name: str, dilation: int = 1) -> Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        padding = dilation * (weight.shape[-1] - 1) // 2
        if self.channels_last:
            return functional.conv2d(x, weight, bias, padding=(0, padding), dilation=(1, dilation))
        return functional.conv1d(x, weight, bias, padding=padding, dilation=dilation)

    def __call__(self, codes: Tensor) -> Tensor:
        x = (codes / 255 - 0.5).to(self.dtype)[None, None]
        if self.channels_last:
            x = x[:, :, None]
        x = self.convolution(x, "start")
        for i, dilation in enumerate(self.config.dilations):
            y = self.convolution(x, f"layers.{i}.dilated", dilation).relu_()
            y = self.convolution(y, f"layers.{i}.pointwise")
            x = x + (functional.glu(y, dim=1) if self.config.kind == "music-star" else y)
        x = x.flatten(2)  # [1, C, T]
        pool = self.config.pool
        frames = x.shape[2] // pool
        x = x[:, :, : frames * pool].float().unflatten(2, (frames, pool)).mean(3)  # a mean and a 1x1 commute
        code, bias = self.tensors["code.weight"].flatten(1).float(), self.tensors["code.bias"].float()
        return torch.addmm(bias, x[0].t(), code.t())
