import pytest

from musicstar_ext.methods import Recipe

STEPS_PER_EPOCH = 10


def rates(recipe: Recipe, steps: int) -> list[float]:
    return [recipe.learning_rate_at(step, STEPS_PER_EPOCH) for step in range(steps)]


def test_decays_each_epoch():
    found = rates(Recipe(learning_rate=1.0, decay=0.5), 30)
    assert found == [1.0] * 10 + [0.5] * 10 + [0.25] * 10


def test_warms_up_and_anneals():
    found = rates(Recipe(learning_rate=1.0, decay=1.0, warmup_steps=4, anneal_steps=5, steps=15), 15)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_last_step():
    assert Recipe(epochs=3).last_step(STEPS_PER_EPOCH) == 30
    assert Recipe(epochs=3, steps=7).last_step(STEPS_PER_EPOCH) == 7


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.0, 16_000), (0.75, 12_000), (0.5, 8000), (0.51, 8000), (0.53, 8800), (0.001, 800)]
)
def test_crops_are_whole_frames(seconds, expected):
    assert Recipe(crop_seconds=seconds).crop_samples(16_000, 800) == expected
