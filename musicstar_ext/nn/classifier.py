"""The domain classifier of the universal network [7]: which domain does a code come from?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from .convolution import Convolution


class DomainClassifier(nn.Module):
    """Three 1x1 convolutions with ELU, a 1x1 to the domains, and the mean over time.

    It learns to name the domain; the encoder learns to make that impossible, so that a code tells the music only.
    """

    def __init__(self, code_channels: int, domains: int, channels: int = 100) -> None:
        super().__init__()
        sizes = [code_channels, channels, channels, channels]
        self.layers = nn.ModuleList(Convolution(a, b) for a, b in pairwise(sizes))
        self.logits = Convolution(channels, domains)

    def forward(self, code: Tensor) -> Tensor:
        """Code frames [B, C, F], F at least 1 -> logits [B, domains]."""
        x = code.transpose(1, 2)  # [B, F, C]
        for layer in self.layers:
            x = functional.elu(layer(x))
        return self.logits(x).mean(dim=1)
