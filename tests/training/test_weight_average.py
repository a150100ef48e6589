import pytest
import torch

from musicstar_ext.training.weight_average import WeightAverage


def model(value: float) -> torch.nn.Module:
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(linear.weight, value)
    return linear


def test_follows_the_weights():
    linear = model(0.0)
    average, expected = WeightAverage(linear, 0.5), 0.0
    for step in range(1, 30):
        torch.nn.init.constant_(linear.weight, float(step))
        average.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    with average.applied():
        assert linear.weight.item() == pytest.approx(expected)
    assert linear.weight.item() == 29.0


def test_off_is_the_weights_themselves():
    linear = model(3.0)
    average = WeightAverage(linear, 0.0)
    average.update(1)
    with average.applied():
        assert linear.weight.item() == 3.0
    assert average.state_dict() == {}


def test_a_state_taken_before_an_exchange_is_not_exchanged():
    linear = model(1.0)
    average = WeightAverage(linear, 0.9)
    torch.nn.init.constant_(linear.weight, 2.0)
    state = average.state_dict()
    with average.applied():
        assert state["weight"].item() == 1.0
    other = WeightAverage(model(0.0), 0.9)
    other.load_state_dict(state)
    assert other.state_dict()["weight"].item() == 1.0


def test_weights_come_back_after_an_error():
    linear = model(1.0)
    average = WeightAverage(linear, 0.9)
    torch.nn.init.constant_(linear.weight, 2.0)
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert linear.weight.item() == 2.0
