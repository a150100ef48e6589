"""Batches prepared ahead, or cropped on the device, are those that `Crops.batch` gives."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import torch

from musicstar_ext.data.crops import Crops
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.errors import UserError
from musicstar_ext.training.batches import AHEAD, Batches
from musicstar_ext.training.resident import ResidentTracks, resident_if_it_fits

CPU = torch.device("cpu")
TRACKS = ("lead", "dark")


@pytest.fixture(scope="module")
def prepared(tiny_set):
    return PreparedSet.open(tiny_set)


def crops_of(prepared, samples=4000, tracks=TRACKS, **options):
    return Crops(prepared, "train", tracks, samples, 6, 0, **options)


def assert_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for track, tensor in batch.items():
        assert tensor.dtype == torch.from_numpy(expected[track]).dtype
        assert tensor.is_contiguous()
        assert np.array_equal(tensor.numpy(), expected[track])


def crop_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("crops")]


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("rows", [slice(None), slice(2, 4)])
@pytest.mark.parametrize("options", [{}, {"augmented": ("dark",)}, {"kind": "audio", "augmented": TRACKS}], ids=str)
def test_every_way_gives_the_same_crops(prepared, options, rows, resident):
    crops = crops_of(prepared, **options)
    kept = ResidentTracks(crops, CPU) if resident else None
    turns = [("lead",), ("dark",), TRACKS]
    with Batches(crops, CPU, lambda step: turns[step % 3], rows, kept) as batches:
        for step in (0, 1, 2, 3, 7, 6, 7):  # a step may be skipped or asked for again
            assert_equal(batches[step], crops.batch(step, turns[step % 3], rows))
    assert not crop_threads()


def test_pieces_shorter_than_a_crop_and_stereo_on_the_device(prepared, tmp_path):
    long = crops_of(prepared, samples=34_000)
    assert_equal(ResidentTracks(long, CPU).crop(long.spans(3), TRACKS, slice(None)), long.batch(3))
    random = np.random.default_rng(0)
    entries = {}
    for name, length in (("one", 300), ("two", 900)):
        samples = random.integers(-9000, 9000, (length, 2)).astype(np.int16)
        entries[name] = write_piece(tmp_path, name, {"a": samples, "b": -samples}, 44_100, {"split": "train"})
    write_description(tmp_path, 44_100, {"b": ["a"]}, entries, {}, channels=2)
    stereo = crops_of(PreparedSet.open(tmp_path), samples=400, tracks=("a", "b"), kind="audio")
    resident = ResidentTracks(stereo, CPU)
    for step in range(5):
        assert_equal(resident.crop(stereo.spans(step), ("a", "b"), slice(1, 5)), stereo.batch(step, rows=slice(1, 5)))


def test_the_next_batches_are_prepared_meanwhile(prepared, monkeypatch):
    crops = crops_of(prepared)
    made, ready = [], threading.Semaphore(0)
    cut = crops.batch

    def batch(step, *arguments, **options):
        made.append((step, threading.current_thread().name))
        found = cut(step, *arguments, **options)
        ready.release()
        return found

    monkeypatch.setattr(crops, "batch", batch)
    with Batches(crops, CPU, lambda step: TRACKS) as batches:
        batches[0]
        for _ in range(1 + AHEAD):
            assert ready.acquire(timeout=60)
        assert sorted(step for step, _ in made) == [0, 1, 2]
        assert all(name.startswith("crops") for step, name in made if step > 0)
        batches[1]
        assert ready.acquire(timeout=60)
        assert sorted(step for step, _ in made) == [0, 1, 2, 3]


def test_an_error_of_the_thread_reaches_the_training_and_ends_the_thread(prepared, monkeypatch):
    crops = crops_of(prepared)
    cut = crops.batch

    def batch(step, *arguments, **options):
        if step == 2:
            raise UserError("the file has gone")
        return cut(step, *arguments, **options)

    monkeypatch.setattr(crops, "batch", batch)
    with Batches(crops, CPU, lambda step: TRACKS) as batches:
        batches[0], batches[1]
        with pytest.raises(UserError, match="the file has gone"):
            batches[2]
    assert not crop_threads()


def test_ctrl_c_ends_the_thread(prepared):
    with contextlib.suppress(KeyboardInterrupt), Batches(crops_of(prepared), CPU, lambda step: TRACKS) as batches:
        batches[0]
        assert crop_threads()
        raise KeyboardInterrupt
    assert not crop_threads()


def test_without_a_gpu_nothing_is_resident(prepared):
    assert resident_if_it_fits(crops_of(prepared), CPU) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu(prepared):
    device = torch.device("cuda")
    crops = crops_of(prepared, augmented=("dark",))
    resident = resident_if_it_fits(crops, device)
    assert resident is not None
    with Batches(crops, device, lambda step: TRACKS, resident=resident) as batches:
        for step in range(4):
            assert_equal({track: tensor.cpu() for track, tensor in batches[step].items()}, crops.batch(step))
