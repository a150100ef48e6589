"""The networks once more, sample by sample in float64 loops: slow, obvious, and sharing no code with the package."""

from __future__ import annotations

import numpy as np

from musicstar_ext.architecture import DecoderConfig, EncoderConfig


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def encode(config: EncoderConfig, w: dict[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """[T] -> [C, F]."""
    x = _centred(w, "start", (codes / 255 - 0.5)[:, None], 1)
    for i, dilation in enumerate(config.dilations):
        h = np.maximum(_centred(w, f"layers.{i}.dilated", x, dilation), 0)
        h = _pointwise(w, f"layers.{i}.pointwise", h)
        if config.kind == "music-star":
            h = h[:, : config.channels] * sigmoid(h[:, config.channels :])
        x = x + h
    code = _pointwise(w, "code", x)
    frames = len(codes) // config.pool
    return (
        np.array([code[f * config.pool : (f + 1) * config.pool].mean(0) for f in range(frames)])
        .reshape(frames, config.code_channels)
        .T
    )


def decode(config: DecoderConfig, w: dict[str, np.ndarray], codes: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """[T] and [C, F] -> logits [classes, T]."""
    r_size = config.residual_channels
    c = np.array([condition[:, t // config.pool] for t in range(len(codes))])
    x = np.concatenate([[0.0], codes[:-1] / 255 - 0.5])[:, None]
    r = _causal(w, "first", x, 1)
    s = _pointwise(w, "first_skip", r)
    for i, dilation in enumerate(config.dilations):
        h = _causal(w, f"layers.{i}.dilated", r, dilation) + _pointwise(w, f"layers.{i}.condition", c)
        z = sigmoid(h[:, :r_size]) * np.tanh(h[:, r_size:])
        r = r + _pointwise(w, f"layers.{i}.residual", z)
        s = s + _pointwise(w, f"layers.{i}.skip", z)
    s = _pointwise(w, "head", np.maximum(s, 0)) + _pointwise(w, "head_condition", c)
    return _pointwise(w, "logits", np.maximum(s, 0)).T


def _taps(w, name, x, offsets):
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    y = np.tile(bias, (len(x), 1))
    for t in range(len(x)):
        for j, offset in enumerate(offsets):
            if 0 <= t + offset < len(x):
                y[t] += weight[:, :, j] @ x[t + offset]
    return y


def _centred(w, name, x, dilation):
    size = w[f"{name}.weight"].shape[2]
    return _taps(w, name, x, [(j - size // 2) * dilation for j in range(size)])


def _causal(w, name, x, dilation):
    size = w[f"{name}.weight"].shape[2]
    return _taps(w, name, x, [(j - size + 1) * dilation for j in range(size)])


def _pointwise(w, name, x):
    return x @ w[f"{name}.weight"][:, :, 0].T + w[f"{name}.bias"]
