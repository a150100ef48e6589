"""Types of the compiled core. Arrays are C-contiguous numpy arrays of exactly the dtype named here; others raise.

Weights are given as {tensor name: float32 array} with the names and shapes of `musicstar_ext.architecture`; sizes as
the fields of its configs. B: lanes, T: samples, F: code frames, C: code (condition) channels, A: classes.
"""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

__version__: str

Weights = dict[str, NDArray[np.float32]]
Sizes = dict[str, int | str]

class CudaDevice(TypedDict):
    index: int
    name: str
    compute_capability: str
    memory_bytes: int

def supported_isas() -> list[str]:
    """What this build has and this processor runs, slowest first: generic, avx2, avx512, avx512-dot (VNNI, BF16)."""

def active_isa() -> str:
    """What runs: the last of `supported_isas()`, or the one that the environment variable MUSICSTAR_ISA names.

    Raises:
        ValueError: MUSICSTAR_ISA names an instruction set that is unknown, or that this machine does not have.
    """

def peak_multiply_adds(precision: str = "fp32", isa: str = "", seconds: float = 0.02) -> float:
    """Multiply-adds a second that one core does out of registers, measured for about `seconds`: the bound of a product.

    Raises:
        ValueError: an unknown precision or instruction set, or seconds outside 0..60.
    """

def read_bandwidth(bytes: int, isa: str = "", seconds: float = 0.02) -> float:
    """Bytes a second that one core reads out of a buffer of `bytes` bytes, again and again: the bound of one lane.

    Raises:
        ValueError: an unknown instruction set, bytes outside 1..2^32, or seconds outside 0..60.
    """

def cuda_build() -> str:
    """The CUDA version and architectures this module was compiled for; empty without CUDA."""

def cuda_devices() -> list[CudaDevice]:
    """The GPUs that the driver offers.

    Raises:
        RuntimeError: why none can be used (no CUDA in this build, no driver, no device), in one line.
    """

def mu_law_encode(audio: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[T] -> [T]: trunc((F(x) + 1) / 2 * 255), F(x) = sign(x) ln(1 + 255|x|) / ln 256, x clipped to -1..1."""

def mu_law_decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[T] -> [T]: y = (code - 128) / 128, sign(y) (256^|y| - 1) / 255."""

def philox_uniforms(seed: int, lane: int, first: int, count: int) -> NDArray[np.float32]:
    """[count] uniforms in [0, 1): sample indices first..first+count-1 of a lane (Philox4x32-10, 24 bits each)."""

class Encoder:
    """The encoder over a stream of any length, in bounded memory; `sizes` are the fields of `EncoderConfig`."""

    def __init__(
        self, sizes: Sizes, weights: Weights, threads: int = 1, isa: str = "", precision: str = "fp32"
    ) -> None: ...
    def push(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Take [T] more samples; return the [F, C] code frames that have become certain (perhaps none)."""

    def finish(self) -> NDArray[np.float32]:
        """The end of the audio (zeros follow in every layer): return the remaining whole frames, and start afresh."""

    def reset(self) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def look_ahead(self) -> int:
        """Samples after a frame that the encoder must have seen before the frame is certain."""

class Sampler:
    """The WaveNet decoder, sample by sample, for B independent lanes; its state stays between calls.

    Equal inputs give equal samples whatever lanes, threads and split are. `sizes` are the fields of `DecoderConfig`.
    Every lane starts at sample 0 with zero state and `first_input`.
    """

    def __init__(
        self,
        sizes: Sizes,
        weights: Weights,
        lanes: int = 1,
        threads: int = 1,
        isa: str = "",
        precision: str = "fp32",
        split: str = "auto",
    ) -> None:
        """`split`, whether the threads share one lane: auto (where that is measured to be faster), always, never."""

    def sample(
        self,
        condition: NDArray[np.float32],
        uniforms: NDArray[np.float32],
        temperature: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Draw [B, T] codes, continuing where the last call ended.

        condition: [B, F, C], exactly the frames that these T samples touch: from frame position // pool to frame
        (position + T - 1) // pool. uniforms: [B, T] in [0, 1). temperature: >= 0; 0 takes the most likely code.
        """

    def score(self, condition: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [B, T, A] with the given [B, T] codes fed back in place of draws; advances the state."""

    def reset(self, first_input: float = 128 / 255 - 0.5) -> None:
        """All lanes back to sample 0; `first_input` stands for the sample before the first."""

    @property
    def position(self) -> int:
        """Samples decoded since the last reset."""

    @property
    def lanes(self) -> int: ...
    @property
    def is_split(self) -> bool:
        """Whether this one lane is decoded by several threads."""

    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...

class ReferenceEncoder:
    """The scalar oracle: slow, obvious, double-precision accumulation."""

    def __init__(self, sizes: Sizes, weights: Weights) -> None: ...
    def encode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[T] -> [F, C], F = T // pool."""

class ReferenceSampler:
    """The scalar oracle of `Sampler`, for one lane."""

    def __init__(self, sizes: Sizes, weights: Weights) -> None: ...
    def sample(
        self, condition: NDArray[np.float32], uniforms: NDArray[np.float32], temperature: float = 1.0
    ) -> NDArray[np.uint8]:
        """Condition [F, C] and uniforms [T] -> codes [T]; state stays between calls as in `Sampler`."""

    def score(self, condition: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[T] codes -> logits [T, A], step by step."""

    def teacher_forced(self, condition: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[F, C], [T] codes -> logits [T, A] by whole-sequence convolutions, zero before the first sample; no state."""

    def reset(self, first_input: float = 128 / 255 - 0.5) -> None: ...
    @property
    def position(self) -> int: ...
