"""A picture of a recording and its translation: two log-frequency spectrograms, one above the other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import MissingExtraError, UserError

COLUMNS = 1_200
WINDOW = 0.128  # seconds
FREQUENCIES = np.geomspace(55.0, 8_000.0, 320)  # hertz
RANGE = 80.0  # dB shown below the loudest point


def check_plot(path: Path) -> None:
    """Find out before any work whether a picture can be made.

    Raises:
        UserError: matplotlib is missing, or the name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: the picture's name must end in .png")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "eval") from None


def plot_spectrograms(recordings: dict[str, Path], picture: Path) -> None:
    """Draw the files' spectrograms, titled by their keys, over one time axis, and write a PNG.

    Raises:
        UserError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5 * len(recordings)), layout="constrained")
    all_axes = figure.subplots(len(recordings), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, path) in zip(all_axes, recordings.items(), strict=True):
        decibels, seconds = spectrogram(path)
        times = np.linspace(0, seconds, decibels.shape[1])
        mesh = axes.pcolormesh(times, FREQUENCIES, decibels, vmin=-RANGE, vmax=0, cmap="magma", rasterized=True)
        axes.set(title=title, yscale="log", ylabel="frequency (Hz)")
        figure.colorbar(mesh, ax=axes, label="dB")
    all_axes[-1].set_xlabel("time (s)")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    write_atomically(picture, data.getvalue())


def spectrogram(path: Path) -> tuple[NDArray[np.float32], float]:
    """Level in dB below the loudest point at `FREQUENCIES`, and the file's duration in seconds.

    A fixed number of windows is read, evenly spaced, so that a recording of hours costs as much as one of seconds.

    Shape: [320, at most 1200].
    """
    with soundfile.SoundFile(path) as file:
        rate, frames = file.samplerate, file.frames
        length = round(WINDOW * rate)
        hann = np.hanning(length).astype(np.float32)
        bins = np.fft.rfftfreq(length, 1 / rate)
        count = max(2, min(COLUMNS, frames * 4 // length))
        columns = np.empty((len(FREQUENCIES), count), np.float32)
        for i, start in enumerate(np.linspace(0, max(0, frames - length), count).astype(int)):
            file.seek(int(start))
            samples = file.read(length, dtype="float32", always_2d=True).mean(axis=1)
            spectrum = np.abs(np.fft.rfft(np.pad(samples, (0, length - len(samples))) * hann))
            columns[:, i] = np.interp(FREQUENCIES, bins, spectrum, right=0.0)
    loudest = max(float(columns.max()), 1e-9)
    return 20 * np.log10(np.maximum(columns / loudest, 10 ** (-RANGE / 20))), frames / rate
