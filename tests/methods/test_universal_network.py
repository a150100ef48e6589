import dataclasses

import numpy as np
import pytest
import torch
from methods.tiny_models import DOMAINS, ENCODER, build, crops, nats
from torch.nn import functional

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.methods import UniversalNetwork
from musicstar_ext.methods.universal_network import UniversalNetworkConfig

NAME = "universal-network"
STEMS = ("oboe", "horn", "keys", "viola", "bass", "harp")


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_defaults_are_the_published():
    config = UniversalNetworkConfig()
    recipe = (config.optimizer, config.learning_rate, config.decay, config.batch, config.crop_seconds)
    assert recipe == ("adam", 1e-3, 0.995, 32, 0.75)
    assert (config.clip_value, config.confusion) == (1.0, 0.01)
    assert config.encoder == EncoderConfig(
        kind="universal", blocks=3, layers=10, channels=128, kernel_size=3, code_channels=64, pool=800
    )
    assert config.decoder == DecoderConfig(blocks=4, layers=10, residual_channels=128, skip_channels=128)
    assert config.crop_samples(16_000, config.encoder.pool) == 12_000


def test_networks_are_the_encoder_and_a_decoder_of_every_stem(tmp_path):
    model = build(NAME, tmp_path)
    assert model.tracks == model.augmented_tracks == STEMS
    assert list(model.networks()) == ["encoder", *(f"decoder.{stem}" for stem in STEMS)]
    assert [(branch.source, branch.target, branch.encoder, branch.decoder) for branch in model.branches()] == [
        ("oboe", "viola", "encoder", "decoder.viola"),
        ("horn", "bass", "encoder", "decoder.bass"),
        ("keys", "harp", "encoder", "decoder.harp"),
    ]
    assert not any(name.startswith("classifier") for name in model.networks())
    assert any(name.startswith("classifier") for name in model.state_dict())


def test_the_other_direction(tmp_path):
    branches = build(NAME, tmp_path, source="strings").branches()
    assert [(branch.source, branch.target) for branch in branches] == [
        ("viola", "oboe"),
        ("bass", "horn"),
        ("harp", "keys"),
    ]


def test_steps_take_turns_over_the_stems(tmp_path):
    model = build(NAME, tmp_path)
    assert [model.tracks_at(step) for step in range(7)] == [(stem,) for stem in (*STEMS, "oboe")]
    model.loss(crops(model, ["horn"])).backward()
    trained = {name for name, weight in model.decoders.named_parameters() if weight.grad is not None}
    assert trained == {name for name in trained if name.startswith("networks.1.")}
    assert trained


def test_losses_by_hand(tmp_path):
    model = build(NAME, tmp_path)
    batch = crops(model, ["keys"])
    x, augmented = batch["keys"], batch["keys augmented"]
    code = model.encoder(augmented)
    reconstruction, confusion, naming = model.losses("keys", x, augmented)
    third = torch.full((2,), 2)
    assert reconstruction.item() == pytest.approx(nats(model.decoders["keys"](x, code), x), rel=1e-5)
    assert confusion.item() == pytest.approx(nats(model.classifier(code), third), rel=1e-5)
    assert naming.item() == pytest.approx(nats(model.classifier(model.encoder(x)), third), rel=1e-5)
    assert model.loss(batch).item() == pytest.approx(reconstruction.item())


@pytest.mark.parametrize("bf16", [False, True])
def test_one_backward_pass_gives_each_player_its_own_gradient(tmp_path, bf16):
    model = build(NAME, tmp_path, confusion=0.3)
    batch = crops(model, ["horn"])
    x, augmented = batch["horn"], batch["horn augmented"]
    second = torch.full((2,), 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model.loss(batch).backward()
    together = gradients(model)

    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        code = model.encoder(augmented)
        logits = model.decoders["horn"](x, code).float()
        objective = functional.cross_entropy(logits, x.long())
        objective = objective - 0.3 * functional.cross_entropy(model.classifier(code).float(), second)
    objective.backward()  # of which the classifier's gradient is not wanted
    apart = {name: grad for name, grad in gradients(model).items() if not name.startswith("classifier")}

    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        functional.cross_entropy(model.classifier(model.encoder(x)).float(), second).backward()
    apart |= {name: grad for name, grad in gradients(model).items() if name.startswith("classifier")}

    assert together.keys() == apart.keys()
    assert any(name == "encoder.start.bias" for name in together)
    for name, grad in apart.items():
        assert grad.any() or "residual" in name, name
        torch.testing.assert_close(together[name], grad, rtol=2e-2 if bf16 else 1e-4, atol=1e-3 if bf16 else 1e-7)


def test_the_encoder_learns_to_hide_what_the_classifier_learns_to_name(tmp_path):
    model = build(NAME, tmp_path, confusion=1.0)
    batch = crops(model, ["oboe"])
    before = model.losses("oboe", batch["oboe"], batch["oboe augmented"])
    model.loss(batch).backward()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("classifier"):
                weight -= 0.01 * weight.grad
    naming = model.losses("oboe", batch["oboe"], batch["oboe augmented"])[2]
    assert naming < before[2]
    model = build(NAME, tmp_path, confusion=1.0)
    model.losses("oboe", batch["oboe"], batch["oboe augmented"])[1].neg().backward()
    assert all(weight.grad is None for weight in model.classifier.parameters())
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight -= 0.01 * weight.grad
    assert model.losses("oboe", batch["oboe"], batch["oboe augmented"])[1] > before[1]


def test_validation_is_the_mean_reconstruction_of_crops_as_they_are(tmp_path):
    model = build(NAME, tmp_path)
    batch = {stem: crop for stem, crop in crops(model).items() if "augmented" not in stem}
    expected = [nats(model.decoders[stem](batch[stem], model.encoder(batch[stem])), batch[stem]) for stem in STEMS]
    assert model.validation_loss(batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_some_stems_only(tmp_path):
    model = build(NAME, tmp_path, stems="harp, oboe")
    assert model.stems == ("oboe", "harp")
    assert [(branch.source, branch.target) for branch in model.branches()] == [("keys", "harp")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stems": "harp,drum"}, "'drum' is not a stem of the set; known: oboe, horn"),
        ({"stems": "oboe"}, "stems must hold one of viola, bass, harp, the stems of strings"),
        ({"source": "drums"}, "two of the domains"),
        ({"confusion": -1.0}, "confusion must be at least 0"),
        ({"encoder": dataclasses.replace(ENCODER, pool=20)}, "must be equal, not 20 and 10"),
    ],
)
def test_unusable_settings(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        build(NAME, tmp_path, **settings)


def test_stems_must_correspond(tmp_path):
    with pytest.raises(UserError, match=r"the stems of a \(x, y\) and of b \(z\) must correspond one to one"):
        build(NAME, tmp_path, {"a": ["x", "y"], "b": ["z"]})


def test_initialisation_knows_each_stems_codes(tmp_path):
    model = build(NAME, tmp_path, initialisation="variance-preserving")
    model.initialise({stem: np.eye(256, dtype=np.int64)[number] * 1000 for number, stem in enumerate(STEMS)})
    assert [decoder.logits.bias.argmax().item() for _, decoder in model.decoders.items()] == list(range(6))


def test_is_a_method_for_any_set(tmp_path):
    assert isinstance(build(NAME, tmp_path, DOMAINS), UniversalNetwork)
    assert build(NAME, tmp_path, {"a": ["x.1"], "b": ["y,2"]}).stems == ("x.1", "y,2")
