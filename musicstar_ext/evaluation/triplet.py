"""The network that measures style (paper, section 4), and the loss that it is trained with.

Four blocks of Conv1d(64 channels, kernel k, "same") -> BatchNorm -> ReLU -> MaxPool(k), k = 4, 4, 4, 2, over MFCC
frames; the mean over time is the embedding. Two recordings are as alike as the cosine of their embeddings. Cifka et al.
2020 and the published code (Keras) give the details: He-uniform initialisation, BatchNorm with epsilon 1e-3 and
momentum 0.99, an even kernel's padding one longer at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mfcc import FEATURES

CHANNELS = 64
KERNELS = (4, 4, 4, 2)
MARGIN = 0.1


class Block(nn.Module):
    """[B, features, T] -> [B, 64, T // kernel]."""

    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.convolution = nn.Conv1d(features, CHANNELS, kernel)
        self.norm = nn.BatchNorm1d(CHANNELS, eps=1e-3, momentum=0.01)  # torch's momentum is Keras's 1 - 0.99
        nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        before = (self.kernel - 1) // 2
        x = functional.pad(x, (before, self.kernel - 1 - before))
        return functional.max_pool1d(torch.relu(self.norm(self.convolution(x))), self.kernel)


class TripletNetwork(nn.Module):
    """MFCC frames [B, 12, T >= 128] -> embedding [B, 64]."""

    def __init__(self) -> None:
        super().__init__()
        features = [FEATURES, *[CHANNELS] * (len(KERNELS) - 1)]
        self.blocks = nn.Sequential(*(Block(count, kernel) for count, kernel in zip(features, KERNELS, strict=True)))

    def forward(self, frames: Tensor) -> Tensor:
        pooled: Tensor = self.blocks(frames).mean(dim=2)
        return pooled


def triplet_hinge(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over the batch of max(0, margin + cos(anchor, negative) - cos(anchor, positive)); embeddings [B, C]."""
    nearer = functional.cosine_similarity(anchor, positive)
    farther = functional.cosine_similarity(anchor, negative)
    return torch.relu(margin + farther - nearer).mean()


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a `TripletNetwork` that its file holds."""
    return {name: tuple(tensor.shape) for name, tensor in weights_of(TripletNetwork()).items()}


def weights_of(network: TripletNetwork) -> dict[str, Tensor]:
    """Parameters and running statistics, without BatchNorm's counters, which nothing uses."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
