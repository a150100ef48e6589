import torch

from musicstar_ext.nn import DomainClassifier


def test_is_a_mean_over_time_of_one_network_per_frame():
    torch.manual_seed(0)
    classifier = DomainClassifier(code_channels=5, domains=3).double()
    code = torch.randn(2, 5, 7, dtype=torch.float64)
    frames = torch.stack([classifier(code[:, :, f : f + 1]) for f in range(7)])
    assert torch.allclose(classifier(code), frames.mean(0), atol=1e-12)
    assert classifier(code).shape == (2, 3)


def test_sizes_of_the_paper():
    classifier = DomainClassifier(code_channels=64, domains=2)
    shapes = [tuple(layer.weight.shape) for layer in classifier.layers]
    assert shapes == [(100, 64, 1), (100, 100, 1), (100, 100, 1)]
    assert tuple(classifier.logits.weight.shape) == (2, 100, 1)


def test_gradient():
    torch.manual_seed(0)
    classifier = DomainClassifier(code_channels=3, domains=2, channels=4).double()
    code = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(classifier, (code,))
