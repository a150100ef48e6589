"""Ctrl-C stops a translation within a second at full size, whatever it is at: no call into the core lasts longer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from random_networks import random_weights

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.networks import DecoderNetwork, EncoderNetwork
from musicstar_ext.runtime.translator import Translator

PRESSED_AFTER = 0.05  # seconds into the phase under test


def translator_of(encoder: EncoderConfig, decoder: DecoderConfig) -> Translator:
    checkpoint = Checkpoint(
        method="mixture-supervised",
        networks={"encoder": encoder, "decoder": decoder},
        weights={"encoder": random_weights(encoder), "decoder": random_weights(decoder)},
        domains={"source": "strings-piano", "target": "clarinet-vibraphone"},
        branches=(Branch("strings-piano", "clarinet-vibraphone"),),
        levels={"strings-piano": -20.0, "clarinet-vibraphone": -20.0},
    )
    return Translator(checkpoint, choose_engine("cpu", threads=1))


@pytest.fixture(scope="module")
def full_size_encoder() -> Translator:
    return translator_of(EncoderConfig(), DecoderConfig())


@pytest.fixture(scope="module")
def full_size_decoder() -> Translator:
    return translator_of(EncoderConfig(blocks=1, layers=1, channels=1), DecoderConfig())


class CtrlC:
    """Sends this process a SIGINT soon after `start`; knows the processor time at which it did."""

    def __init__(self) -> None:
        self.sent = 0.0
        self.timer = threading.Timer(PRESSED_AFTER, self._send)

    def start(self) -> None:
        self.timer.start()

    def _send(self) -> None:
        self.sent = time.process_time()
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def ctrl_c() -> Iterator[CtrlC]:
    key = CtrlC()
    yield key
    key.timer.cancel()


def expect_a_quick_end(translator: Translator, ctrl_c: CtrlC, seconds: float, lanes: int) -> None:
    audio = (0.1 * np.random.default_rng(0).standard_normal(round(16_000 * seconds))).astype(np.float32)
    with pytest.raises(KeyboardInterrupt):
        translator.translate(audio, 16_000, lanes=lanes)
    # Processor time: what other programs do on a busy machine does not count.
    assert time.process_time() - ctrl_c.sent < 1.0


def test_while_encoding(full_size_encoder: Translator, ctrl_c: CtrlC, monkeypatch: pytest.MonkeyPatch) -> None:
    make = EncoderNetwork.encoder

    def make_and_press(network: EncoderNetwork) -> object:
        encoder = make(network)
        ctrl_c.start()
        return encoder

    monkeypatch.setattr(EncoderNetwork, "encoder", make_and_press)
    expect_a_quick_end(full_size_encoder, ctrl_c, seconds=10.0, lanes=1)


def test_at_the_end_of_encoding(full_size_encoder: Translator, ctrl_c: CtrlC, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the samples ahead is computed in one call: the encoder itself looks for signals there."""
    make = EncoderNetwork.encoder

    class PressingAtTheEnd:
        def __init__(self, network: EncoderNetwork) -> None:
            self.encoder = make(network)

        def push(self, codes: np.ndarray) -> np.ndarray:
            return self.encoder.push(codes)

        def finish(self) -> np.ndarray:
            ctrl_c.start()
            return self.encoder.finish()

    monkeypatch.setattr(EncoderNetwork, "encoder", lambda network: PressingAtTheEnd(network))
    expect_a_quick_end(full_size_encoder, ctrl_c, seconds=1.0, lanes=1)


@pytest.mark.parametrize("lanes", [1, 16])
def test_while_decoding(
    full_size_decoder: Translator, ctrl_c: CtrlC, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    make = DecoderNetwork.sampler

    def make_and_press(network: DecoderNetwork, count: int, guided: bool) -> object:
        assert count == lanes
        sampler = make(network, count, guided)
        ctrl_c.start()
        return sampler

    monkeypatch.setattr(DecoderNetwork, "sampler", make_and_press)
    expect_a_quick_end(full_size_decoder, ctrl_c, seconds=10.0, lanes=lanes)
