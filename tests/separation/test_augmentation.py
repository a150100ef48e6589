"""Stems in which every number says where it comes from: row, stem, channel and time."""

import pytest
import torch

from musicstar_ext.separation.augmentation import augmented, flip, remix, shift


def labelled(rows: int, stems: int = 2, channels: int = 2, samples: int = 20) -> torch.Tensor:
    row, stem, channel, time = torch.meshgrid(
        *(torch.arange(1, n + 1) for n in (rows, stems, channels, samples)), indexing="ij"
    )
    return (row * 1_000_000 + stem * 10_000 + channel * 1000 + time).double()


def test_shift_starts_each_stem_somewhere_else():
    torch.manual_seed(0)
    stems = labelled(50)
    shifted = shift(stems, 4)
    assert shifted.shape == (50, 2, 2, 16)
    starts = (shifted[..., 0] - stems[..., 0]).long()
    assert set(starts.flatten().tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(starts[:, :, 0], starts[:, :, 1])  # both channels alike
    assert not torch.equal(starts[:, 0], starts[:, 1])  # the stems not
    assert torch.equal(shifted.diff(dim=-1), torch.ones(50, 2, 2, 15).double())


def test_no_shift():
    assert torch.equal(shift(labelled(3), 0), labelled(3))


def test_flip_turns_signs_and_swaps_channels():
    torch.manual_seed(0)
    stems = labelled(40)
    flipped = flip(stems)
    found = set()
    for row, (before, after) in enumerate(zip(stems.flatten(0, 1), flipped.flatten(0, 1), strict=True)):
        kinds = {(s, c): s * (before.flip(0) if c else before) for s in (1, -1) for c in (False, True)}
        (kind,) = [kind for kind, expected in kinds.items() if torch.equal(after, expected)]
        found.add((kind, row % 2))
    assert len(found) == 8  # each of the four, for either stem


def test_flip_of_one_channel_turns_signs_only():
    stems = labelled(10, channels=1)
    assert torch.equal(flip(stems).abs(), stems)


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 10])
def test_remix_exchanges_rows_within_groups(rows):
    torch.manual_seed(0)
    stems = labelled(rows)
    mixed = remix(stems, group=4)
    origin = (mixed // 1_000_000).long() - 1  # [B, S, C, T]
    assert torch.equal(mixed - (origin + 1) * 1_000_000, stems - stems // 1_000_000 * 1_000_000)  # nothing else moved
    assert (origin == origin[:, :, :1, :1]).all()  # whole stems
    for stem in range(2):
        rows_of = origin[:, stem, 0, 0]
        assert sorted(rows_of.tolist()) == list(range(rows))
        assert torch.equal(rows_of // 4, torch.arange(rows) // 4)


def test_remix_makes_new_mixtures():
    torch.manual_seed(0)
    origin = (remix(labelled(400)) // 1_000_000)[:, :, 0, 0]
    kept_together = (origin[:, 0] == origin[:, 1]).double().mean().item()
    assert kept_together == pytest.approx(1 / 4, abs=0.08)


def test_the_generators_state_decides():
    stems = labelled(8)
    first, second = (torch.random.manual_seed(seed) and augmented(stems, 5) for seed in (1, 1))
    assert torch.equal(first, second)
    torch.manual_seed(2)
    assert not torch.equal(augmented(stems, 5), first)
