import numpy as np
import pytest

from musicstar_ext.data.augmentation import shift_spans
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
        entries[name] = write_piece(folder, name, tracks, 16_000, {"split": "train"})
    write_description(folder, 16_000, DOMAINS, entries, {})
    return PreparedSet.open(folder)


def crops(prepared, samples=50, batch=4, seed=0, tracks=("one", "two"), **options):
    return Crops(prepared, "train", tracks, samples, batch, seed, **options)


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


def test_some_rows_of_some_tracks(prepared):
    found = crops(prepared, batch=6)
    whole = found.batch(3)
    part = found.batch(3, tracks=("two",), rows=slice(2, 4))
    assert part.keys() == {"two"}
    assert np.array_equal(part["two"], whole["two"][2:4])
    assert found.batch(3, without=("one",)).keys() == {"two"}


def test_audio(prepared):
    codes, audio = crops(prepared, samples=100), crops(prepared, samples=100, kind="audio")
    for step in range(5):
        one = audio.batch(step)["one"]
        assert one.shape == (4, 1, 100)
        assert one.dtype == np.float32
        samples = (one[:, 0] * 32768).astype(np.int16)
        assert np.array_equal(to_codes(samples), codes.batch(step)["one"])


def test_stereo(tmp_path):
    samples = np.arange(400, dtype=np.int16).reshape(200, 2)
    entry = write_piece(tmp_path, "piece", {"a": samples, "one": samples}, 44_100, {"split": "train"})
    write_description(tmp_path, 44_100, {"one": ["a"]}, {"piece": entry}, {}, channels=2)
    prepared = PreparedSet.open(tmp_path)
    batch = Crops(prepared, "train", ("a",), 50, 4, 0, kind="audio").batch(0)["a"]
    assert batch.shape == (4, 2, 50)
    assert np.array_equal(batch[:, 1], batch[:, 0] + np.float32(1 / 32768))
    assert Crops(prepared, "train", ("a",), 300, 2, 0, kind="audio").batch(0)["a"][:, :, 200:].any() == 0
    with pytest.raises(UserError, match="has 2 channels; mu-law codes are of one"):
        Crops(prepared, "train", ("a",), 50, 4, 0)


def test_twins_are_the_shifted_crops(prepared):
    found = crops(prepared, samples=180, batch=8, tracks=("one", "two"), kind="audio", augmented=("two",))
    batch, plain = found.batch(7), crops(prepared, samples=180, batch=8, kind="audio").batch(7)
    assert batch.keys() == {"one", "two", "two augmented"}
    assert np.array_equal(batch["two"], plain["two"])
    samples = (batch["two"][:, 0] * 32768).astype(np.int16)
    expected = shift_spans(samples, found.shifts(7, "two"))
    assert np.array_equal(batch["two augmented"][:, 0] * 32768, expected)
    assert not np.array_equal(expected, samples)
    part = found.batch(7, rows=slice(3, 5), without=("two",))
    assert part.keys() == {"one", "two augmented"}
    assert np.array_equal(part["two augmented"], batch["two augmented"][3:5])
    assert found.batch(7, tracks=("one",)).keys() == {"one"}


def test_code_counts(prepared):
    counts = crops(prepared).code_counts("one", batches=3)
    assert counts.shape == (256,)
    assert counts.sum() == 3 * 4 * 50


def test_no_pieces_and_no_track(prepared):
    with pytest.raises(UserError, match="no pieces in the split 'validation'"):
        Crops(prepared, "validation", ("one",), 50, 4, 0)
    with pytest.raises(UserError, match="no track 'three'"):
        crops(prepared, tracks=("three",))
