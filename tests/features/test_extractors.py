"""Feature extractors: shapes and rates, the encoders' layers against the networks, pieces against the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from musicstar_ext import checkpoints, models  # noqa: E402
from musicstar_ext.checkpoints import Branch  # noqa: E402
from musicstar_ext.concepts.extractors import StyleEmbedding, open_extractor  # noqa: E402
from musicstar_ext.errors import UserError  # noqa: E402
from musicstar_ext.evaluation.style import StyleModel  # noqa: E402
from musicstar_ext.evaluation.triplet import TripletNetwork  # noqa: E402
from musicstar_ext.features import encoder_layers  # noqa: E402
from musicstar_ext.features.encoder_layers import EncoderLayers  # noqa: E402
from musicstar_ext.features.extractor import LogMel, MusicnnLayers  # noqa: E402
from musicstar_ext.nn import build_encoder, load_weights  # noqa: E402
from musicstar_ext.runtime.core import core  # noqa: E402
from musicstar_ext.runtime.gain import input_gain  # noqa: E402
from musicstar_ext.runtime.level import gated_level_dbfs  # noqa: E402

RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "cache"))


def check(extractor, samples):
    """Every layer has the channels that it promises, and about the promised frames a second."""
    found = extractor.features(samples, list(extractor.layers))
    assert {layer: frames.shape[1] for layer, frames in found.items()} == dict(extractor.layers)
    for frames in found.values():
        assert frames.dtype == np.float32
        assert abs(len(frames) - extractor.frame_rate * len(samples) / RATE) <= 1
    assert extractor.default_layer in extractor.layers
    with pytest.raises(UserError, match="has no layer 'odd'"):
        extractor.features(samples, ["odd"])
    with pytest.raises(UserError, match="empty"):
        extractor.features(samples[:0], [extractor.default_layer])
    return found


def test_log_mel(tone):
    pytest.importorskip("librosa", reason="log-mel features need librosa")
    check(LogMel(), tone(1.0))


def test_musicnn(tone):
    pytest.importorskip("librosa", reason="musicnn needs librosa")
    found = check(MusicnnLayers(), tone(3.1))
    assert found["tags"].min() >= 0
    assert found["tags"].max() <= 1


def test_style(tone):
    pytest.importorskip("librosa", reason="style needs librosa")
    torch.manual_seed(0)
    check(StyleEmbedding(StyleModel(TripletNetwork(), {"target": "a", "source": "b"})), tone(8.0))


def test_an_encoder(tiny_checkpoint, tone):
    extractor = EncoderLayers(tiny_checkpoint)
    found = check(extractor, tone(0.505))
    assert list(extractor.layers) == ["start", "layer1", "layer2", "layer3", "layer4", "code"]
    # Every layer a second time, by hooks on the network itself.
    config = tiny_checkpoint.networks["encoder"]
    module = build_encoder(config).eval()
    load_weights(module, tiny_checkpoint.weights["encoder"])
    passed = {}
    module.start.register_forward_hook(lambda _, __, x: passed.update(start=x))
    for number, layer in enumerate(module.layers):
        layer.register_forward_hook(lambda _, __, x, number=number: passed.update({f"layer{number + 1}": x}))
    samples = tone(0.505)
    samples = samples * np.float32(input_gain(gated_level_dbfs(samples), -20.0))
    codes = core.mu_law_encode(np.pad(samples, (0, -len(samples) % config.pool)))
    with torch.inference_mode():
        code = module(torch.from_numpy(codes)[None])[0].T.numpy()
    np.testing.assert_allclose(found["code"], code, atol=1e-5)
    for layer, x in passed.items():
        framed = x[0].numpy().reshape(-1, config.pool, x.shape[2])
        np.testing.assert_allclose(found[layer][:, : x.shape[2]], framed.mean(1), atol=1e-4)
        np.testing.assert_allclose(found[layer][:, x.shape[2] :], framed.std(1), atol=1e-3)


def test_pieces_are_the_whole(tiny_checkpoint, tone, monkeypatch):
    extractor = EncoderLayers(tiny_checkpoint)
    samples = tone(1.0)
    whole = extractor.features(samples, list(extractor.layers))
    monkeypatch.setattr(encoder_layers, "PIECE_SECONDS", 0.13)
    for layer, frames in extractor.features(samples, list(extractor.layers)).items():
        np.testing.assert_allclose(frames, whole[layer], atol=1e-5)


def test_the_level_does_not_matter(tiny_checkpoint, tone):
    extractor = EncoderLayers(tiny_checkpoint)
    loud, quiet = (extractor.features(tone(0.5, amplitude=level), ["code"])["code"] for level in (0.2, 0.02))
    assert np.abs(loud - quiet).max() < 0.2 * np.abs(loud).max()


def test_encoders_are_found_by_name(tiny_checkpoint, tmp_path):
    networks, weights = dict(tiny_checkpoint.networks), dict(tiny_checkpoint.weights)
    for name in ("one", "two"):
        networks[f"encoder.{name}"], weights[f"encoder.{name}"] = networks["encoder"], weights["encoder"]
    del networks["encoder"], weights["encoder"]
    branches = tuple(Branch("lute", "viol", f"encoder.{name}", "decoder") for name in ("one", "two"))
    several = type(tiny_checkpoint)(
        **{**vars(tiny_checkpoint), "networks": networks, "weights": weights, "branches": branches}
    )
    path = tmp_path / "several.safetensors"
    checkpoints.save(several, path)
    assert open_extractor(f"{path}:encoder.two").name == "several:encoder.two"
    with pytest.raises(UserError, match=r"several encoders, say which: encoder\.one, encoder\.two"):
        open_extractor(str(path))
    with pytest.raises(UserError, match=r"no encoder 'three'; it has encoder\.one"):
        open_extractor(f"{path}:three")


def test_shipped_models_are_found():
    extractor = open_extractor(models.DEFAULT)
    assert extractor.name == models.DEFAULT
    assert extractor.identity != open_extractor(models.names()[0]).identity


def test_what_is_no_extractor_is_named():
    for text in ("nothing", "nothing:encoder", "style:"):
        with pytest.raises(UserError, match=r"nothing|style"):
            open_extractor(text)
