import pytest
import torch
from torch.nn import functional

from musicstar_ext.nn.convolution import Convolution, scaled_codes, shifted


@pytest.mark.parametrize("length", [1, 2, 7, 31])
@pytest.mark.parametrize("dilation", [1, 4, 64])
@pytest.mark.parametrize(("kernel_size", "causal"), [(1, False), (2, True), (3, True), (3, False)])
def test_equals_conv1d(length, dilation, kernel_size, causal):
    torch.manual_seed(0)
    convolution = Convolution(3, 4, kernel_size, dilation, causal).double()
    x = torch.randn(2, length, 3, dtype=torch.float64)
    reach = (kernel_size - 1) * dilation
    padding = (reach, 0) if causal else (reach // 2, reach // 2)
    expected = functional.conv1d(
        functional.pad(x.transpose(1, 2), padding), convolution.weight, convolution.bias, dilation=dilation
    )
    assert torch.allclose(convolution(x), expected.transpose(1, 2), atol=1e-12)


def test_starts_like_conv1d():
    torch.manual_seed(0)
    ours, theirs = Convolution(16, 32, 3), torch.nn.Conv1d(16, 32, 3)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert mine.shape == other.shape
        mine, other = mine.detach(), other.detach()
        assert mine.abs().max() == pytest.approx(other.abs().max().item(), rel=0.1)
        assert mine.std() == pytest.approx(other.std().item(), rel=0.2)


def test_shifted_fills_with_zeros():
    x = torch.arange(1.0, 5.0).view(1, 4, 1)
    assert shifted(x, -1).flatten().tolist() == [0, 1, 2, 3]
    assert shifted(x, 2).flatten().tolist() == [3, 4, 0, 0]
    assert shifted(x, -9).flatten().tolist() == [0, 0, 0, 0]


def test_scaled_codes():
    x = scaled_codes(torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.zeros(1, dtype=torch.float64))
    assert x.flatten().tolist() == pytest.approx([-0.5, -0.3, 0.5])
    assert x.shape == (1, 3, 1)
