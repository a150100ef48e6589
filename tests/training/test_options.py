import dataclasses

import pytest

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.methods.mixture_supervised import MixtureSupervisedConfig
from musicstar_ext.training.options import from_flat, to_flat, with_settings


def test_flat_and_back():
    config = MixtureSupervisedConfig(
        batch=3, encoder=EncoderConfig(channels=7, pool=80), decoder=DecoderConfig(layers=2, pool=80)
    )
    flat = to_flat(config)
    assert flat["batch"] == 3
    assert flat["encoder.channels"] == 7
    assert flat["decoder.layers"] == 2
    assert from_flat(MixtureSupervisedConfig, flat) == config


def test_defaults_fill_what_is_missing():
    assert from_flat(MixtureSupervisedConfig, {}) == MixtureSupervisedConfig()


def test_settings_of_every_type():
    settings = [
        "batch=4",
        "learning_rate=1e-2",
        "source=a=b",
        "precision=bf16",
        "encoder.kind=universal",
        "decoder.layers=3",
    ]
    config = with_settings(MixtureSupervisedConfig, {"batch": 2, "steps": 9}, settings)
    assert (config.batch, config.steps, config.learning_rate, config.source) == (4, 9, 1e-2, "a=b")
    assert (config.precision, config.encoder.kind, config.decoder.layers) == ("bf16", "universal", 3)


def test_the_last_setting_wins():
    assert with_settings(MixtureSupervisedConfig, {}, ["batch=4", "batch=5"]).batch == 5


def test_every_key_can_be_set():
    flat = to_flat(MixtureSupervisedConfig())
    settings = [f"{key}={value}" for key, value in flat.items()]
    assert with_settings(MixtureSupervisedConfig, {}, settings) == MixtureSupervisedConfig()


def test_an_unknown_key_lists_the_known():
    with pytest.raises(UserError) as error:
        with_settings(MixtureSupervisedConfig, {}, ["encoder=3"])
    for field in dataclasses.fields(MixtureSupervisedConfig):
        assert field.name in str(error.value)
