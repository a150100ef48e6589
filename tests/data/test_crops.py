import numpy as np
import pytest

from musicstar_ext.data.crops import SILENCE, Crops, mu_law_table, to_codes
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.errors import UserError

DOMAINS = {"one": ["a"], "two": ["b"]}
LENGTHS = {"short": 30, "middle": 200, "long": 400}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three pieces in which every sample of "one" tells its piece and place, and "two" is one more."""
    folder = tmp_path_factory.mktemp("set")
    entries = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        ramp = (10_000 * number - 10_000 + 16 * np.arange(length)).astype(np.int16)
        tracks = {"a": ramp, "one": ramp, "b": ramp + 1, "two": ramp + 1}
        entries[name] = write_piece(
            folder, name, tracks, 16_000, {"split": "train", "levels": {"one": -20, "two": -20}}
        )
    write_description(folder, 16_000, DOMAINS, entries, {})
    return PreparedSet.open(folder)


def crops(prepared, samples=50, batch=4, seed=0, tracks=("one", "two")):
    return Crops(prepared, "train", tracks, samples, batch, seed)


def test_table_is_the_published_mu_law():
    samples = np.arange(-32768, 32768).astype(np.int16)
    x = samples.astype(np.float32).astype(np.float64) / 32768
    compressed = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    expected = np.trunc((compressed + 1) / 2 * 255).astype(int)
    difference = to_codes(samples).astype(int) - expected
    assert np.abs(difference).max() <= 1  # float32 may fall on the other side of a step
    assert np.count_nonzero(difference) < 20
    assert to_codes(np.zeros(1, np.int16)) == SILENCE
    assert mu_law_table().shape == (65536,)


def test_batch_is_a_function_of_seed_and_step(prepared):
    first, again = crops(prepared), crops(prepared)
    for step in (5, 0, 5, 10**9):
        one, two = first.batch(step), again.batch(step)
        assert all(np.array_equal(one[track], two[track]) for track in one)
    assert not np.array_equal(first.batch(0)["one"], first.batch(1)["one"])
    assert not np.array_equal(first.batch(0)["one"], crops(prepared, seed=1).batch(0)["one"])


def test_tracks_are_aligned_and_inside_a_piece(prepared):
    spans = {}
    for piece in prepared.pieces("train"):
        one, two = to_codes(piece.audio("one")), to_codes(piece.audio("two"))
        for start in range(max(1, piece.samples - 49)):
            spans[one[start : start + 50].tobytes()] = two[start : start + 50]
    found = crops(prepared)
    for step in range(50):
        batch = found.batch(step)
        assert batch["one"].shape == batch["two"].shape == (4, 50)
        assert batch["one"].dtype == np.uint8
        for one, two in zip(batch["one"], batch["two"], strict=True):
            if one[-1] != SILENCE:
                assert np.array_equal(spans[one.tobytes()], two)


def test_every_span_is_equally_likely(prepared):
    found = crops(prepared, batch=100, samples=50)
    first_codes = np.concatenate([found.batch(step)["one"][:, 0] for step in range(50)])
    level = {name: to_codes(np.array([10_000 * i - 10_000], np.int16))[0] for i, name in enumerate(LENGTHS)}
    assert np.count_nonzero(first_codes == level["short"]) == pytest.approx(5000 / (1 + 151 + 351), rel=0.8)
    assert np.count_nonzero(first_codes > level["middle"] + 1) > 0.6 * 5000


def test_a_short_piece_ends_in_silence(prepared):
    found = crops(prepared, samples=401, batch=64)
    rows = [row for step in range(8) for row in found.batch(step)["one"]]
    lengths = {int(np.flatnonzero(row != SILENCE)[-1]) + 1 for row in rows}
    assert lengths == set(LENGTHS.values())


def test_code_counts(prepared):
    counts = crops(prepared).code_counts("one", batches=3)
    assert counts.shape == (256,)
    assert counts.sum() == 3 * 4 * 50


def test_no_pieces_and_no_track(prepared):
    with pytest.raises(UserError, match="no pieces in the split 'validation'"):
        Crops(prepared, "validation", ("one",), 50, 4, 0)
    with pytest.raises(UserError, match="no track 'three'"):
        crops(prepared, tracks=("three",))
