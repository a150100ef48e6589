import torch

from musicstar_ext.training.muon import Muon, orthogonal


def test_orthogonal_keeps_the_directions_and_evens_their_sizes():
    random = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 16), (2, 8, 24), (2, 24, 8)):
        matrices = torch.randn(shape, generator=random)
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        found = orthogonal(matrices)
        assert found.shape == matrices.shape
        sizes = u.mT @ found @ v.mT  # diagonal where the directions are kept
        diagonal = sizes.diagonal(dim1=1, dim2=2)
        assert torch.allclose(sizes, torch.diag_embed(diagonal), atol=1e-3)
        assert diagonal.max() < 1.3
        assert diagonal.median() > 0.6


def test_a_weight_without_gradient_stays():
    used, unused = torch.nn.Parameter(torch.ones(8, 8, 1)), torch.nn.Parameter(torch.ones(8, 8, 1))
    optimizer = Muon([used, unused], lr=0.1)
    used.sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(8, 8, 1))
    assert not torch.equal(used, torch.ones(8, 8, 1))


def test_finds_a_minimum():
    torch.manual_seed(0)
    target = torch.randn(8, 4, 3)
    weight = torch.nn.Parameter(torch.zeros(8, 4, 3))
    optimizer = Muon([weight], lr=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - target).square().mean().backward()
        optimizer.step()
    assert (weight - target).abs().max() < 0.05


def test_momentum_goes_on_after_a_resume():
    def fresh() -> tuple[torch.nn.Parameter, Muon]:
        weight = torch.nn.Parameter(torch.zeros(8, 8, 2))
        return weight, Muon([weight], lr=0.1)

    gradients = torch.randn(4, 8, 8, 2, generator=torch.Generator().manual_seed(0))
    whole, optimizer = fresh()
    for gradient in gradients:
        whole.grad = gradient.clone()
        optimizer.step()

    weight, optimizer = fresh()
    for gradient in gradients[:2]:
        weight.grad = gradient.clone()
        optimizer.step()
    resumed, other = fresh()
    resumed.data.copy_(weight)
    other.load_state_dict(optimizer.state_dict())
    for gradient in gradients[2:]:
        resumed.grad = gradient.clone()
        other.step()
    assert torch.equal(whole, resumed)
