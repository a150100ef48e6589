"""musicnn's VGG: shapes, and layers computed a second time from the package's raw weights, in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from musicstar_ext.errors import UserError  # noqa: E402
from musicstar_ext.features import musicnn, musicnn_weights  # noqa: E402
from musicstar_ext.features.__main__ import main  # noqa: E402
from musicstar_ext.features.musicnn import LAYERS, Musicnn, Vgg, log_mel, patches  # noqa: E402
from musicstar_ext.features.tensorflow_checkpoint import read_tensors  # noqa: E402

RATE = 16_000


@pytest.fixture(scope="module")
def package() -> Path:
    folder = musicnn_weights.installed_package()
    if folder is None:
        pytest.skip("needs the package musicnn (pip install --no-deps musicnn)")
    return folder


@pytest.fixture(scope="module")
def network() -> Musicnn:
    return Musicnn.load()


def test_tensor_names_are_the_networks():
    state = Vgg().state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in state.items() if "num_batches" not in name}
    assert found == musicnn_weights.tensor_shapes()


def test_layers_have_the_published_sizes():
    with torch.inference_mode():
        layers = Vgg().eval()(torch.zeros(2, 187, 96))
    shapes = {name: tuple(value.shape[1:]) for name, value in layers.items()}
    sizes = {"pool1": (92, 48), "pool2": (46, 24), "pool3": (23, 12), "pool4": (11, 6), "pool5": (2, 1)}
    assert shapes == {**{name: (128, *size) for name, size in sizes.items()}, "tags": (50,)}
    assert {name: 128 * size[1] for name, size in sizes.items()} | {"tags": 50} == LAYERS


def test_patches():
    frames = np.arange(400 * 96, dtype=np.float32).reshape(400, 96)
    cut = patches(frames)
    assert cut.shape == (2, 187, 96)
    assert np.array_equal(cut[1], frames[187:374])
    assert np.array_equal(patches(frames[:100])[0, 100:187], frames[:87])
    with pytest.raises(UserError, match="no frames"):
        patches(frames[:0])


def test_log_mel_is_its_formula(tone):
    librosa = pytest.importorskip("librosa")
    samples = tone(0.5)
    padded = np.pad(samples.astype(np.float64), 256)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    power = np.stack([np.abs(np.fft.rfft(padded[i : i + 512] * hann)) ** 2 for i in range(0, len(samples) + 1, 256)])
    mel = power @ librosa.filters.mel(sr=RATE, n_fft=512, n_mels=96).T.astype(np.float64)
    assert np.abs(log_mel(samples) - np.log10(1 + 10_000 * mel)).max() < 1e-4


def plain_layers(package: Path, patch: np.ndarray) -> dict[str, np.ndarray]:
    """The equations in float64 from the raw weights: pools [time, mel, channel], tags [50]."""
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    suffixes = ("", "_1", "_2", "_3", "_4", "_5")
    names = [f"batch_normalization{suffix}/{part}" for suffix in suffixes for part in parts]
    names += [
        f"{layer}/{part}" for layer in ("1CNN", "2CNN", "3CNN", "4CNN", "5CNN", "dense") for part in ("kernel", "bias")
    ]
    model = package / "MSD_vgg"
    read = read_tensors(model / ".index", model / ".data-00000-of-00001", names)
    raw = {name: array.astype(np.float64) for name, array in read.items()}

    def norm(x: np.ndarray, suffix: str) -> np.ndarray:
        gamma, beta, mean, variance = (raw[f"batch_normalization{suffix}/{part}"] for part in parts)
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def convolve(x: np.ndarray, layer: str) -> np.ndarray:
        kernel, padded = raw[f"{layer}/kernel"], np.pad(x, ((1, 1), (1, 1), (0, 0)))
        time, mel = x.shape[:2]
        shifted = (padded[i : i + time, j : j + mel] @ kernel[i, j] for i in range(3) for j in range(3))
        return np.maximum(0, sum(shifted) + raw[f"{layer}/bias"])

    def pool(x: np.ndarray, window: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
        count = [(size - w) // s + 1 for size, w, s in zip(x.shape, window, stride, strict=False)]
        starts = [[s * i for i in range(n)] for s, n in zip(stride, count, strict=True)]
        return np.array([[x[t : t + window[0], m : m + window[1]].max((0, 1)) for m in starts[1]] for t in starts[0]])

    layers = {}
    x = norm(patch.astype(np.float64)[:, :, None], "")
    pools = (((4, 1), (2, 2)), *[((2, 2), (2, 2))] * 3, ((4, 4), (4, 4)))
    for number, (window, stride) in enumerate(pools, start=1):
        x = layers[f"pool{number}"] = pool(norm(convolve(x, f"{number}CNN"), f"_{number}"), window, stride)
    layers["tags"] = 1 / (1 + np.exp(-(x.ravel() @ raw["dense/kernel"] + raw["dense/bias"])))
    return layers


def test_every_layer_is_the_equations_on_the_raw_weights(network: Musicnn, package: Path, tone):
    pytest.importorskip("librosa")
    patch = patches(log_mel(tone(3.2)))[0]
    expected = plain_layers(package, patch)
    with torch.inference_mode():
        found = network.network(torch.from_numpy(patch[None]))
    assert found.keys() == expected.keys()
    for name, layer in expected.items():
        computed = found[name][0].numpy() if name == "tags" else found[name][0].permute(1, 2, 0).numpy()
        assert computed.shape == layer.shape
        assert np.abs(computed - layer).max() < 1e-4 * np.abs(layer).max()


def test_features_are_means_over_time_flattened_by_frequency(network: Musicnn, tone):
    pytest.importorskip("librosa")
    samples = tone(6.5)
    features = network.features(samples, list(LAYERS))
    assert {name: value.shape for name, value in features.items()} == {name: (2, size) for name, size in LAYERS.items()}
    with torch.inference_mode():
        layers = network.network(torch.from_numpy(patches(log_mel(samples))))
    pool3 = layers["pool3"].numpy()  # [patch, channel, time, frequency]
    assert np.allclose(features["pool3"].reshape(2, 12, 128)[1, 5, 17], pool3[1, 17, :, 5].mean(), atol=1e-5)
    assert ((features["tags"] > 0) & (features["tags"] < 1)).all()


def test_unknown_layers_and_empty_recordings_are_refused(network: Musicnn):
    with pytest.raises(UserError, match="no layer 'pool6'"):
        network.features(np.zeros(100, np.float32), ["pool6"])
    with pytest.raises(UserError, match="empty"):
        network.features(np.zeros(0, np.float32))


def test_the_shipped_weights_are_the_packages(package: Path):
    shipped, original = musicnn_weights.load_weights(), musicnn_weights.read_package(package)
    assert all(np.array_equal(shipped[name], original[name]) for name in musicnn_weights.tensor_shapes())


def test_the_command_converts_and_keeps_the_licence(
    package: Path, network: Musicnn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from musicstar_ext.tensor_file import read_tensors as read

    path = tmp_path / "musicnn.safetensors"
    for folder in ([], [str(package)], [str(package / "MSD_vgg")]):
        assert main(["convert-musicnn", *folder, "-o", str(path)]) == 0
    _, description = read(path, musicnn_weights.KIND, musicnn_weights.tensor_shapes())
    assert "Permission to use, copy, modify" in description["licence"]
    assert len(description["tags"]) == 50
    loaded, state = Musicnn.load(path).network.state_dict(), network.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere", "-o", "out.safetensors"], "nowhere: not the folder of the package musicnn"),
        ([".", "-o", "out.safetensors"], "not the folder"),
        ([".", "-o", "out.h5"], "must end in .safetensors"),
        ([".", "-o", "nowhere/out.safetensors"], "cannot be written"),
        (["."], "-o"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert main(["convert-musicnn", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir() if p.suffix] == []


def test_rate_and_hop_are_the_published_ones():
    assert (musicnn.WINDOW, musicnn.HOP, musicnn.BANDS, musicnn.FRAMES) == (512, 256, 96, 187)
