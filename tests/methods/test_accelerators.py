"""Options of mixture-supervised not in the paper: noise, notes or spectra in the code, no code, one network alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig, SpectrumConfig
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.errors import UserError
from musicstar_ext.methods.autoencoder import disturbed
from musicstar_ext.methods.mixture_supervised import MixtureSupervised, MixtureSupervisedConfig
from musicstar_ext.methods.note_reader import NoteReader
from musicstar_ext.nn.spectrum import distance, mu_law_decoded, power_spectra
from musicstar_ext.train import main
from musicstar_ext.training.stages import untrained
from tests.training.conftest import DOMAINS as SET_DOMAINS
from tests.training.conftest import RATE, melody

from .small import DECODER, EACH, ENCODER

DOMAINS = {"one": ["a", "b"], "two": ["c", "d"]}
TINY = MixtureSupervisedConfig(
    encoder=EncoderConfig(blocks=1, layers=2, channels=6, code_channels=3, pool=10),
    decoder=DecoderConfig(blocks=1, layers=2, residual_channels=6, skip_channels=5, condition_channels=3, pool=10),
)


def tiny(**settings: float) -> MixtureSupervised:
    torch.manual_seed(0)
    return MixtureSupervised(dataclasses.replace(TINY, **settings), DOMAINS)


def crops(rolls: bool = False) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    found = {track: torch.randint(0, 256, (2, 40), generator=random, dtype=torch.uint8) for track in DOMAINS}
    if rolls:
        found |= {f"{stem} notes": torch.rand((2, 4, 88), generator=random) for stem in DOMAINS["one"]}
    return found


def test_both_are_off_by_default():
    model = tiny()
    assert (model.config.teacher_noise, model.config.note_weight, model.noted_stems) == (0.0, 0.0, ())
    assert {name.partition(".")[0] for name in model.state_dict()} == {"encoder", "decoder"}


def test_noise_is_as_large_as_asked_for_and_different_in_each_row():
    torch.manual_seed(3)
    codes = torch.full((400, 3000), 128, dtype=torch.uint8)
    deviations = (disturbed(codes, 8.0).double() - 128).std(dim=1)
    assert deviations.max().item() < 8.4
    assert deviations.mean().item() == pytest.approx(4, rel=0.1)
    assert deviations.std().item() == pytest.approx(8 / 12**0.5, rel=0.1)


def test_noise_stays_within_the_codes():
    torch.manual_seed(0)
    edges = torch.tensor([[0, 255] * 2000], dtype=torch.uint8)
    noisy = disturbed(edges, 10.0)
    assert noisy.dtype == torch.uint8
    assert noisy[:, ::2].max() < 80  # nothing has wrapped round
    assert noisy[:, 1::2].min() > 175


def test_noise_changes_the_training_loss_only():
    plain, noisy, batch = tiny(), tiny(teacher_noise=30.0), crops()
    assert noisy.validation_loss(batch) == plain.loss(batch)
    torch.manual_seed(5)
    first = noisy.loss(batch)
    torch.manual_seed(5)
    assert noisy.loss(batch) == first != plain.loss(batch)


def test_the_target_of_noisy_teaching_is_clean(monkeypatch):
    """With a decoder that repeats what it hears, the loss would be low if the noise were to be predicted."""
    model, batch, heard = tiny(teacher_noise=30.0), crops(), []
    forward = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda codes, code: heard.append(codes) or forward(codes, code))
    loss = model.loss(batch).item()
    assert not torch.equal(heard[0], batch["two"])
    likelihood = forward(heard[0], model.encoder(batch["one"])).log_softmax(dim=1)
    assert loss == pytest.approx(-likelihood.gather(1, batch["two"].long().unsqueeze(1)).mean().item(), rel=1e-5)


def test_reader_adds_the_weighted_cross_entropy_of_the_notes():
    model, batch = tiny(note_weight=0.5), crops(rolls=True)
    with torch.no_grad():
        model.notes.weight.normal_()
    code = model.encoder(batch["one"])
    total = 0.0
    for stem, name in enumerate(DOMAINS["one"]):
        rows = slice(88 * stem, 88 * (stem + 1))
        probability = torch.sigmoid(
            torch.einsum("kc,bcf->bfk", model.notes.weight[rows], code) + model.notes.bias[rows]
        ).double()
        roll = batch[f"{name} notes"].double()
        nats = -5 * roll * probability.log() - (1 - roll) * (1 - probability).log()
        total += nats.sum(dim=2).mean().item() / 2
    expected = model.validation_loss(batch).item() + 0.5 * total
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_reader_starts_without_a_say():
    """A warm start is not disturbed: at zero weights the notes' gradient stops at the reader."""
    model, batch = tiny(note_weight=1.0), crops(rolls=True)
    model.loss(batch).backward()
    with_notes = {name: weight.grad.clone() for name, weight in model.encoder.named_parameters()}
    assert model.notes.weight.grad.abs().sum() > 0
    model.zero_grad()
    model.validation_loss(batch).backward()
    for name, weight in model.encoder.named_parameters():
        assert torch.allclose(weight.grad, with_notes[name], atol=1e-7), name


def test_notes_can_be_learned_from_a_code_that_tells_them():
    torch.manual_seed(0)
    rolls = (torch.rand(1, 50, 1, 88) < 0.05).float()
    reader, code = NoteReader(88, 1), rolls[:, :, 0].transpose(1, 2)
    before = reader.loss(code, rolls).item()
    optimizer = torch.optim.Adam(reader.parameters(), 0.3)
    for _ in range(60):
        optimizer.zero_grad()
        reader.loss(code, rolls).backward()
        optimizer.step()
    assert reader.loss(code, rolls).item() < 0.05 * before
    assert torch.equal(reader(code) > 0, rolls > 0.5)


SPECTRUM = SpectrumConfig(code_channels=3, pool=10, kernel_size=3, hidden_channels=8, window=16)


def test_the_spectrums_distance_is_added():
    model, batch = tiny(spectrum_weight=0.5, spectrum=SPECTRUM), crops()
    model.look(batch)
    power, frames = power_spectra(mu_law_decoded(batch["two"]), SPECTRUM)
    assert list(range(4))[frames] == [1, 2]
    told = model.spectrum(model.encoder(batch["one"]))
    extra = distance(told[:, 1:3], power).item()
    assert extra > 0.3
    assert model.loss(batch).item() == pytest.approx(model.validation_loss(batch).item() + 0.5 * extra, rel=1e-5)


def test_what_is_told_first_is_the_first_crops_mean():
    model, batch = tiny(spectrum_weight=1.0, spectrum=SPECTRUM), crops()
    model.look(batch)
    mean = power_spectra(mu_law_decoded(batch["two"]), SPECTRUM)[0].mean(dim=(0, 1))
    assert torch.allclose(model.spectrum(torch.zeros(1, 3, 3))[0, 1].exp(), mean, rtol=1e-3)


def test_an_encoder_alone_can_learn_the_spectrum():
    model, batch = tiny(learns="encoder", spectrum_weight=2.0, spectrum=SPECTRUM), crops()
    model.look(batch)
    assert model.loss(batch).item() == pytest.approx(2 * model.validation_loss(batch).item(), rel=1e-6)
    model.loss(batch).backward()
    assert all(weight.grad is not None for weight in (*model.encoder.parameters(), *model.spectrum.parameters()))
    assert all(weight.grad is None for weight in model.decoder.parameters())


def test_a_checkpoint_holds_what_tells_the_spectrum(tmp_path):
    path = tmp_path / "model.safetensors"
    model = tiny(spectrum_weight=1.0, spectrum=SPECTRUM)
    checkpoints.save(untrained(model, 16_000), path)
    found = checkpoints.load(path)
    assert found.networks["spectrum"] == SPECTRUM
    assert set(found.weights["spectrum"]) == set(model.spectrum.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spectrum_weight": -1.0}, "spectrum_weight must be at least 0"),
        ({"spectrum_weight": 1.0}, "encoder.pool and spectrum.pool must be equal, not 10 and 800"),
        ({"spectrum_weight": 1.0, "spectrum": SpectrumConfig(pool=10)}, "spectrum.code_channels must be equal"),
        ({"spectrum_weight": 1.0, "spectrum": SPECTRUM, "learns": "decoder"}, "has no use for note_weight and spectr"),
    ],
)
def test_spectra_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **settings)


def test_no_checkpoint_holds_the_reader(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoints.save(untrained(tiny(note_weight=1.0), 16_000), path)
    assert set(checkpoints.load(path).networks) == {"encoder", "decoder"}


@pytest.mark.parametrize("setting", ["teacher_noise", "note_weight"])
def test_negative_settings(setting):
    with pytest.raises(UserError, match=f"{setting} must be at least 0"):
        dataclasses.replace(TINY, **{setting: -1.0})


@pytest.fixture
def noted_set(tmp_path):
    """A set of two domains with notes for the stems of the first only."""
    folder, entries = tmp_path / "set", {}
    folder.mkdir()
    for number, split in enumerate(("train", "validation")):
        tracks = {}
        for overtone, (domain, stems) in enumerate(SET_DOMAINS.items(), start=2):
            tracks |= {stem: melody(2 * number + i, 1.0, overtone) for i, stem in enumerate(stems)}
            tracks[domain] = sum(tracks[stem] for stem in stems)
        notes = {stem: [[0.1, 0.5, 60 + i, 90]] for i, stem in enumerate(SET_DOMAINS["bright"])}
        entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", tracks, RATE, {"split": split}, notes)
    write_description(folder, RATE, SET_DOMAINS, entries, {"command": "tests"})
    return folder


def train(data, run, *settings, resume=False):
    command = ["mixture-supervised", "--data", str(data), "--run", str(run)]
    return main([*command, *(["--set", *settings] if settings else []), *["--resume"] * resume])


def test_the_command_trains_with_both_and_resumes(noted_set, tmp_path):
    options = [*EACH, *ENCODER, *DECODER, "teacher_noise=4", "note_weight=0.1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(noted_set, whole, *options) == 0
    assert train(noted_set, parts, *options, "steps=2") == 0
    assert train(noted_set, parts, "steps=4", resume=True) == 0
    one, two = (torch.load(run / "latest.state.pt", weights_only=True)["model"] for run in (whole, parts))
    assert one.keys() == two.keys() >= {"notes.weight", "notes.bias"}
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_set_without_the_sources_notes(noted_set, tmp_path, capsys):
    options = [*EACH, *ENCODER, *DECODER, "note_weight=0.1", "source=dark"]
    assert train(noted_set, tmp_path / "run", *options) == 2
    assert "piece 'piece-0' has no notes of 'bass'" in capsys.readouterr().err


def test_a_decoder_that_learns_without_the_code_hears_zeros_in_its_place(monkeypatch):
    model, batch, heard = tiny(code_dropout=0.5), crops(), []
    forward = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda codes, code: heard.append(code) or forward(codes, code))
    code = model.encoder(batch["one"])
    for seed in range(40):
        torch.manual_seed(seed)
        model.loss(batch)
    rows = torch.stack(heard)  # [40, B, C, F]
    dropped = (rows == 0).flatten(2).all(dim=2)
    assert torch.equal(rows[~dropped], code.expand_as(rows)[~dropped])
    assert 20 <= dropped.sum().item() <= 60  # of 80, of which half are expected
    assert (dropped[:, 0] != dropped[:, 1]).any()  # each crop for itself
    heard.clear()
    model.validation_loss(batch)
    assert torch.equal(heard[0], code)


def test_an_encoder_alone_learns_the_notes_and_the_decoder_stays():
    model, batch = tiny(learns="encoder", note_weight=2.0), crops(rolls=True)
    loss = model.loss(batch)
    assert loss.item() == pytest.approx(2 * model.validation_loss(batch).item())
    loss.backward()
    assert not any(weight.requires_grad for weight in model.decoder.parameters())
    assert model.notes.weight.grad.abs().sum() > 0


def test_a_decoder_alone_learns_to_play_and_the_encoder_stays():
    model, batch = tiny(learns="decoder"), crops()
    loss = model.loss(batch)
    assert torch.equal(loss, tiny().loss(batch))
    loss.backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert model.decoder.logits.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learns": "encoder"}, "learns=encoder needs a note_weight"),
        ({"learns": "decoder", "note_weight": 1.0}, "learns=decoder has no use for note_weight"),
        ({"learns": "encoder", "note_weight": 1.0, "code_dropout": 0.1}, "learns=encoder has no use for code_dropout"),
        ({"code_dropout": 1.5}, "code_dropout must be at most 1"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **settings)


def test_the_notes_first_then_the_playing(noted_set, tmp_path):
    """An encoder from one run and a decoder from another, in a third; what does not learn stays to the bit."""
    heard, played, both = (tmp_path / name for name in ("heard", "played", "both"))
    sizes = [*EACH, *ENCODER, *DECODER]
    assert train(noted_set, heard, *sizes, "learns=encoder", "note_weight=1") == 0
    assert train(noted_set, played, *sizes) == 0
    parts = {"encoder": heard / "latest.safetensors", "decoder": played / "latest.safetensors"}
    start = ",".join(f"{name}={path}" for name, path in parts.items())
    assert train(noted_set, both, *sizes, "learns=decoder", "code_dropout=0.2", f"init_from={start}") == 0
    found, first = (checkpoints.load(path) for path in (both / "latest.safetensors", parts["encoder"]))
    assert all((found.weights["encoder"][name] == weight).all() for name, weight in first.weights["encoder"].items())
    second = checkpoints.load(parts["decoder"]).weights["decoder"]
    assert any((found.weights["decoder"][name] != weight).any() for name, weight in second.items())
    assert found.training["config"]["init_from"] == "encoder=latest.safetensors,decoder=latest.safetensors"
    assert (found.guidance, first.guidance) == (1.0, None)  # it has learnt what no code means
    assert train(noted_set, both, "steps=5", resume=True) == 0


def test_starts_that_do_not_fit(noted_set, tmp_path, capsys):
    sizes = [*EACH, *ENCODER, *DECODER]
    assert train(noted_set, tmp_path / "first", *sizes) == 0
    path = tmp_path / "first" / "latest.safetensors"
    assert train(noted_set, tmp_path / "second", *sizes, f"init_from=coder={path}") == 2
    assert "has the networks encoder, decoder, and no 'coder' to train" in capsys.readouterr().err
    assert train(noted_set, tmp_path / "third", *sizes, f"init_from=encoder={tmp_path / 'none'}") == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
