"""Playing voices with a sound font: fluidsynth, called in this process through pyfluidsynth.

fluidsynth computes blocks of 64 samples and starts notes only at their borders, so notes are put on borders here (every
1.5 ms): each falls on the same sample in every stem and domain. A stem gets a synthesizer of its own, for one that has
played before keeps traces of it; the samples of the font stay loaded in between.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from musicstar_ext.errors import MissingExtraError, UserError

from .scores import Voice

SYNTHESIS_RATE = 44_100
BLOCK = 64  # samples
TAIL = 1.5  # seconds after the last note, for its release
GAIN = 0.2
DRUMS = 9  # the MIDI channel that plays no pitches

CHANNELS = 256  # as many as fluidsynth has
BEND_CENTS = 200.0  # of a whole pitch bend, in General MIDI

# More than there are programs.
MELODIC_CHANNELS = [channel for channel in range(CHANNELS) if channel % 16 != DRUMS]


def check_synthesizer() -> None:
    """Raises UserError where fluidsynth or its Python binding is missing, saying which package brings it."""
    _fluidsynth()


def check_sound_font(path: Path) -> None:
    """Raises UserError where `path` is no SoundFont 2 or 3 file."""
    try:
        with path.open("rb") as file:
            header = file.read(12)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if header[:4] != b"RIFF" or header[8:] != b"sfbk":
        raise UserError(f"{path}: not a sound font (SoundFont 2 or 3)")


class SoundFont:
    """A sound font that stays loaded.

    Raises:
        UserError: fluidsynth is missing, or the file is no sound font.
    """

    def __init__(self, path: Path) -> None:
        check_sound_font(path)
        self.path = path
        self._library = _fluidsynth()
        # Samples are loaded with the first program that needs them, and kept while a synthesizer uses them: this one.
        self._keeper, self._kept_font = self._synthesizer()
        self._kept: set[int] = set()

    def close(self) -> None:
        self._keeper.delete()

    def play(self, voices: Sequence[Voice], program: int, seconds: float, cents: float = 0.0) -> NDArray[np.float32]:
        """Play voices with a General MIDI program (from 0), without reverb and chorus.

        Args:
            voices: at most as many as there are `MELODIC_CHANNELS`.
            seconds: end of the last note of the whole piece; the release of `TAIL` seconds comes on top.
            cents: that the instrument is tuned too high, at most 200.

        Returns:
            [2, N] float32 at 44.1 kHz; N depends on `seconds` only.

        Raises:
            UserError: the sound font lacks the program.
        """
        if len(voices) > len(MELODIC_CHANNELS):
            raise ValueError(f"{len(voices)} voices: at most {len(MELODIC_CHANNELS)}")
        if program not in self._kept:
            self._select(self._keeper, MELODIC_CHANNELS[len(self._kept)], self._kept_font, program)
            self._kept.add(program)
        synthesizer, font = self._synthesizer()
        try:
            events: list[tuple[int, int, int, int, int]] = []  # block, 0 = off and 1 = on, channel, pitch, velocity
            for channel, voice in zip(MELODIC_CHANNELS, voices, strict=False):
                self._select(synthesizer, channel, font, program)
                synthesizer.pitch_bend(channel, round(cents / BEND_CENTS * 8192))
                for note in voice:
                    start = _block(note.start)
                    events.append((start, 1, channel, note.pitch, note.velocity))
                    events.append((max(start + 1, _block(note.start + note.duration)), 0, channel, note.pitch, 0))
            events.sort()
            audio = np.zeros((2, _block(seconds + TAIL) * BLOCK), np.float32)
            position = 0
            for block, on, channel, pitch, velocity in events:
                self._write(synthesizer, audio, position, block)
                position = block
                if on:
                    synthesizer.noteon(channel, pitch, velocity)
                else:
                    synthesizer.noteoff(channel, pitch)
            self._write(synthesizer, audio, position, audio.shape[1] // BLOCK)
        finally:
            synthesizer.delete()
        return audio

    def _synthesizer(self) -> tuple[Any, int]:
        settings = {"synth.reverb.active": 0, "synth.chorus.active": 0, "synth.dynamic-sample-loading": 1}
        synthesizer = self._library.Synth(GAIN, SYNTHESIS_RATE, CHANNELS, **settings)
        font = synthesizer.sfload(str(self.path))
        if font < 0:
            synthesizer.delete()
            raise UserError(f"{self.path}: fluidsynth cannot load this sound font")
        return synthesizer, font

    def _select(self, synthesizer: Any, channel: int, font: int, program: int) -> None:
        if synthesizer.program_select(channel, font, 0, program) != 0:
            raise UserError(f"{self.path}: the sound font has no General MIDI program {program + 1}")

    def _write(self, synthesizer: Any, audio: NDArray[np.float32], first: int, last: int) -> None:
        """Compute blocks first..last of [2, N] in place: as floats; pyfluidsynth's own call rounds to 16 bits."""
        if last > first:
            left, right = (channel[first * BLOCK :].ctypes.data for channel in audio)
            status = self._library.write_float(synthesizer.synth, (last - first) * BLOCK, left, 0, 1, right, 0, 1)
            if status != 0:
                raise RuntimeError("fluid_synth_write_float failed")


def to_rate(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """[N] at 44.1 kHz -> the same at `sample_rate` (soxr, high quality: linear phase, without delay)."""
    return soxr.resample(audio, SYNTHESIS_RATE, sample_rate, quality="HQ")


def _block(seconds: float) -> int:
    return round(seconds * SYNTHESIS_RATE / BLOCK)


def _fluidsynth() -> Any:
    """The binding, with the calls it lacks, and without the library's own messages on stderr."""
    try:
        import fluidsynth
    except ModuleNotFoundError:
        raise MissingExtraError("pyfluidsynth", "train") from None
    except ImportError:  # what the binding raises where it finds no libfluidsynth
        raise UserError("this needs the fluidsynth library (Debian: apt install fluidsynth)") from None
    if not hasattr(fluidsynth, "write_float"):
        integer, pointer = ctypes.c_int, ctypes.c_void_p
        names = ("len", "lout", "loff", "lincr", "rout", "roff", "rincr")
        types = (integer, pointer, integer, integer, pointer, integer, integer)
        arguments = [(name, kind, 1) for name, kind in zip(names, types, strict=True)]
        fluidsynth.write_float = fluidsynth.cfunc("fluid_synth_write_float", integer, ("synth", pointer, 1), *arguments)
        silence = fluidsynth.cfunc(
            "fluid_set_log_function", pointer, ("level", integer, 1), ("fun", pointer, 1), ("data", pointer, 1)
        )
        for level in range(5):
            silence(level, None, None)
    return fluidsynth
