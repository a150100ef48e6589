"""The arithmetic of the large products, and which one `auto` takes.

| precision | weights and activations of the products | sums |
|---|---|---|
| fp32 | as trained | fp32 |
| bf16 | rounded to 8 significant bits; on CPUs without a bf16 dot product only the decoder's weights | fp32 |
| int8 | whole numbers to +-127, a scale per output and activation row; a decoder's ends are bf16 | int32, then fp32 |

Conditioning, residual and skip sums, the encoder's code and the draw stay fp32 in all of them; sigmoid and tanh are as
exact as the product that follows. A decoder's ends are its first layer and its head, next to the samples, where most of
int8's loss would arise.

`auto` is the fastest one whose loss is negligible, both by measurement (docs/precision.md). Loss, in nats a sample of
real recordings under trained models: bf16 stays within 0.002; int8 stays within 0.01 for the shipped models, but by no
more than the measurement's error, so it has to be asked for. Speed: bf16 is the faster one where the processor
multiplies it directly, or widens it on the way at little cost as AVX-512 does. With AVX2 it is up to twice as fast with
one or two lanes, whose weights' bytes are what takes time, but no faster with many, as files have them; portable
vectors gain with one wide lane only.

GPUs have fp32 and bf16, and `auto` is bf16 there: its products run on tensor cores, whose sums are fp32.
"""

from __future__ import annotations

from typing import Literal, get_args

from musicstar_ext.errors import UserError

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
GPU_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

AUTO: dict[str, Precision] = {  # by instruction set
    "generic": "fp32",
    "avx2": "fp32",
    "avx2-dot": "fp32",
    "avx512": "bf16",
    "avx512-dot": "bf16",
}


def choose_precision(precision: str, isa: str) -> Precision:
    """The precision that was asked for, or the one that `auto` takes on an instruction set.

    Raises:
        UserError: an unknown name; the message lists the known ones.
    """
    if precision == "auto":
        return AUTO[isa]
    return _known(precision)


def choose_gpu_precision(precision: str, device: str) -> Precision:
    """The precision that was asked for on a GPU; `auto` is bf16.

    Raises:
        UserError: an unknown name, or one that only the CPU has.
    """
    chosen = "bf16" if precision == "auto" else _known(precision)
    if chosen not in GPU_PRECISIONS:
        raise UserError(
            f"device {device}: precision {chosen} runs on the CPU only (--device cpu); "
            f"a GPU has {' and '.join(GPU_PRECISIONS)}"
        )
    return chosen


def _known(precision: str) -> Precision:
    for known in PRECISIONS:
        if precision == known:
            return known
    raise UserError(f"unknown precision {precision!r}: auto, {', '.join(PRECISIONS)}")
