"""What the machine could do at best: the work of a sample, over peaks measured in the same run.

Two things bound a decoder. Its multiply-adds, at the peak of the processor's widest instruction for the precision; and,
with few lanes, the weights' bytes, which a core must read out of its caches for every sample. Both peaks are measured
on one core; threads multiply them. An encoder has many samples for each weight, so only the first bounds it.
"""

from __future__ import annotations

import functools

import _musicstar_core as core

from musicstar_ext.architecture import DecoderConfig, EncoderConfig

PRECISIONS = ("fp32", "bf16", "int8")
WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


def decoder_multiply_adds(config: DecoderConfig) -> int:
    """Of one sample: 4.00 M at full size. The condition's projection is left out: once a frame, not a sample."""
    r, s, k = config.residual_channels, config.skip_channels, config.kernel_size
    layer = k * r * 2 * r + r * (r + s)
    return k * r + r * s + len(config.dilations) * layer + s * s + s * config.classes


def encoder_multiply_adds(config: EncoderConfig) -> int:
    """Of one sample: 4.59 M at full size (Fig. 4b). The last 1x1 acts on frames, and is left out."""
    c, k = config.channels, config.kernel_size
    return k * c + len(config.dilations) * (k * c * c + c * config.pointwise_channels)


def decoder_bytes(config: DecoderConfig, precision: str) -> float:
    """Bytes of weights that one lane must read for a sample, on average.

    Every weight once, but for the older taps of a layer of dilation d: their inputs are known d samples ahead, so one
    reading can serve d samples.
    """
    r, k = config.residual_channels, config.kernel_size
    spared = sum((k - 1) * 2 * r * r * (1 - 1 / dilation) for dilation in config.dilations)
    return (decoder_multiply_adds(config) - spared) * WEIGHT_BYTES[precision]


@functools.cache
def peak(precision: str, isa: str) -> float:
    """Multiply-adds a second of one core, measured now: the best of a few runs, as other programs may take turns."""
    return max(core.peak_multiply_adds(precision, isa, 0.02) for _ in range(8))


@functools.cache
def bandwidth(size: int) -> float:
    """Bytes a second that one core reads out of `size` bytes, measured now."""
    return core.read_bandwidth(size, "", 0.05)


def decoder_bound(config: DecoderConfig, precision: str, isa: str, lanes: int, threads: int) -> float:
    """Samples a second, all lanes together. A thread decodes whole lanes, so more threads than lanes do not count."""
    busy = min(threads, lanes)
    arithmetic = peak(precision, isa) / decoder_multiply_adds(config)
    weights = decoder_multiply_adds(config) * WEIGHT_BYTES[precision]
    reading = lanes / busy * bandwidth(weights) / decoder_bytes(config, precision)
    return busy * min(arithmetic, reading)


def encoder_bound(config: EncoderConfig, precision: str, isa: str, threads: int) -> float:
    """Samples a second."""
    return threads * peak(precision, isa) / encoder_multiply_adds(config)


def describe(isas: list[str]) -> list[str]:
    """The measured peaks in words, a line each."""
    lines = []
    for isa in isas:
        values = ", ".join(f"{name} {peak(name, isa) / 1e9:.0f}" for name in PRECISIONS)
        lines.append(f"peak {isa}, G multiply-adds/s a core: {values}")
    sizes = ", ".join(f"{size >> 20} MB {bandwidth(size) / 1e9:.0f}" for size in (4 << 20, 8 << 20, 16 << 20))
    return [*lines, f"reading weights, GB/s a core: {sizes}"]
