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
    emulated: bool

def supported_isas() -> list[str]:
    """What this build has and this processor runs, slowest first.

    generic, avx2, avx2-dot (AVX-VNNI), avx512, avx512-dot (VNNI, BF16)
    """

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
    """The GPUs that the driver offers. `emulated`: kernels run on the processor, in a build made for tests.

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

    A guided sampler decodes every lane twice, with one past: with its code (heard), and with zeros for a code
    (unheard). What is drawn from is `guidance * heard + (1 - guidance) * unheard` (Ho and Salimans 2022).
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
        guided: bool = False,
    ) -> None:
        """`split`, whether the threads share one lane: auto (where that is measured to be faster), always, never. A
        guided lane is never shared."""

    def sample(
        self,
        condition: NDArray[np.float32],
        uniforms: NDArray[np.float32],
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Draw [B, T] codes, continuing where the last call ended.

        condition: [B, F, C], exactly the frames that these T samples touch: from frame position // pool to frame
        (position + T - 1) // pool. uniforms: [B, T] in [0, 1). temperature: >= 0; 0 takes the most likely code.
        guidance: 0 to 10; 1 is the plain decoder, and all that one takes which is not `guided`.
        """

    def score(
        self, condition: NDArray[np.float32], codes: NDArray[np.uint8], guidance: float = 1.0
    ) -> NDArray[np.float32]:
        """Logits [B, T, A], mixed if guided, with the given [B, T] codes fed back in place of draws; advances."""

    def reset(self, first_input: float = 128 / 255 - 0.5) -> None:
        """All lanes back to sample 0; `first_input` stands for the sample before the first."""

    @property
    def position(self) -> int:
        """Samples decoded since the last reset."""

    @property
    def lanes(self) -> int: ...
    @property
    def guided(self) -> bool: ...
    @property
    def is_split(self) -> bool:
        """Whether this one lane is decoded by several threads."""

    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...

def cuda_wait(stream: int = 0) -> None:
    """Waits until the work of a CUDA stream (0: the default one) is done.

    Raises:
        RuntimeError: a build without CUDA, no usable GPU, or that work failed.
    """

class CudaGatedResidualStack:
    """The decoder's residual layers on a GPU (csrc/include/musicstar/cuda_stacks.h has the equations), for one shape.

    All arguments of `forward` and `backward` are addresses in the current device's memory, and a CUDA stream; both
    queue their work and return. Sequences (x, result and their gradients) are of `element`, everything else is float32;
    arrays are contiguous and aligned to 16 bytes, `saved` and `scratch` to 256.

    Shapes: x [B, T, R], condition [L, B, F, 2R], dilated [L, 2R, R, K], residual [L, R, R], residual_bias [L, R],
    skip [L, S, R], result [B, T, S]; gradients as what they are gradients of, None: not wanted.

    Raises:
        ValueError: a size, address or path that is none; the path does not take the sizes.
        RuntimeError: a build without CUDA, no usable GPU, or a kernel that cannot be launched.
    """

    def __init__(
        self,
        *,
        batch: int,
        time: int,
        residual: int,
        skip: int,
        kernel_size: int,
        dilations: list[int],
        frames: int,
        pool: int,
        element: str,
        path: str = "automatic",
    ) -> None:
        """For the current device. element: 'float32' or 'bfloat16'; path: 'automatic', 'general', 'mma' or 'wgmma'."""

    @property
    def path(self) -> str:
        """What runs: 'general', 'mma' or 'wgmma'."""
    @property
    def saved_bytes(self) -> int:
        """Bytes that forward leaves for backward."""
    @property
    def inference_bytes(self) -> int:
        """Scratch of a forward whose `saved` is None."""
    @property
    def forward_bytes(self) -> int:
        """Scratch of a forward that saves."""
    @property
    def backward_bytes(self) -> int:
        """Scratch of a backward."""
    def forward(
        self,
        *,
        x: int,
        condition: int,
        dilated: int,
        residual: int,
        residual_bias: int,
        skip: int,
        result: int,
        saved: int | None,
        scratch: int,
        stream: int = 0,
    ) -> None: ...
    def backward(
        self,
        *,
        x: int,
        condition: int,
        dilated: int,
        residual: int,
        residual_bias: int,
        skip: int,
        result_gradient: int,
        x_gradient: int | None,
        condition_gradient: int | None,
        dilated_gradient: int | None,
        residual_gradient: int | None,
        residual_bias_gradient: int | None,
        skip_gradient: int | None,
        saved: int,
        scratch: int,
        stream: int = 0,
    ) -> None: ...

class CudaGluResidualStack:
    """The encoders' residual layers on a GPU, for one shape; as CudaGatedResidualStack.

    Shapes: x and result [B, T, C], dilated [L, C, C, K], dilated_bias [L, C], pointwise [L, 2C, C] where gated, else
    [L, C, C], pointwise_bias [L, 2C] or [L, C].
    """

    def __init__(
        self,
        *,
        gated: bool,
        batch: int,
        time: int,
        channels: int,
        kernel_size: int,
        dilations: list[int],
        element: str,
        path: str = "automatic",
    ) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def saved_bytes(self) -> int: ...
    @property
    def inference_bytes(self) -> int: ...
    @property
    def forward_bytes(self) -> int: ...
    @property
    def backward_bytes(self) -> int: ...
    def forward(
        self,
        *,
        x: int,
        dilated: int,
        dilated_bias: int,
        pointwise: int,
        pointwise_bias: int,
        result: int,
        saved: int | None,
        scratch: int,
        stream: int = 0,
    ) -> None: ...
    def backward(
        self,
        *,
        x: int,
        dilated: int,
        dilated_bias: int,
        pointwise: int,
        pointwise_bias: int,
        result_gradient: int,
        x_gradient: int | None,
        dilated_gradient: int | None,
        dilated_bias_gradient: int | None,
        pointwise_gradient: int | None,
        pointwise_bias_gradient: int | None,
        saved: int,
        scratch: int,
        stream: int = 0,
    ) -> None: ...

class CudaError(RuntimeError):
    """What went wrong on a GPU, or why there is none: one line."""

class CudaOutOfMemoryError(CudaError):
    """The GPU's memory does not suffice; names the bytes."""

class CudaEncoder:
    """`Encoder` on a GPU (compute capability 8.0 and later): the same calls, the same promises.

    After KeyboardInterrupt it is at the start of a new stream; after a CudaError call `reset`.
    """

    def __init__(
        self, sizes: Sizes, weights: Weights, device: int = 0, precision: str = "bf16", kernels: str = "fastest"
    ) -> None:
        """`precision`: fp32 or bf16. `kernels`: fastest, or general (those that take any size).

        Raises:
            CudaError: no CUDA in this build, no such GPU, one that is too old; CudaOutOfMemoryError.
            ValueError: a precision or kernels that a GPU does not have.
        """

    def push(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Take [T] more samples; return the [F, C] code frames that have become certain (perhaps none)."""

    def finish(self) -> NDArray[np.float32]:
        """The end of the audio (zeros follow in every layer): return the remaining whole frames, and start afresh."""

    def reset(self) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def kernel(self) -> str:
        """Which kernels run its layers, in words."""

    @property
    def memory_bytes(self) -> int:
        """Of the GPU's memory."""

    @property
    def look_ahead(self) -> int:
        """Samples after a frame that the encoder must have seen before the frame is certain."""

class CudaSampler:
    """`Sampler` on a GPU (compute capability 8.0 and later): the same calls, the same promises.

    After KeyboardInterrupt it is whole, and where it was interrupted; after a CudaError make a new one.
    """

    def __init__(
        self,
        sizes: Sizes,
        weights: Weights,
        lanes: int = 1,
        device: int = 0,
        precision: str = "bf16",
        kernels: str = "fastest",
        guided: bool = False,
    ) -> None:
        """`precision`: fp32 or bf16. `kernels`: fastest, general (any size), layers or layer-clusters (a layer in each
        multiprocessor, for sizes that have them; clusters from compute capability 9.0 on).

        Raises:
            CudaError: no CUDA in this build, no such GPU, one that is too old or too small; CudaOutOfMemoryError.
            ValueError: a precision, kernels or sizes that a GPU does not have.
        """

    def sample(
        self,
        condition: NDArray[np.float32],
        uniforms: NDArray[np.float32],
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> NDArray[np.uint8]:
        """As `Sampler.sample`."""

    def draw(
        self,
        condition: NDArray[np.float32],
        count: int,
        seed: int,
        first_lane: int,
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> NDArray[np.uint8]:
        """`sample` with uniforms made there: lane b's are philox_uniforms(seed, first_lane + b, position, count)."""

    def score(
        self, condition: NDArray[np.float32], codes: NDArray[np.uint8], guidance: float = 1.0
    ) -> NDArray[np.float32]:
        """As `Sampler.score`."""

    def reset(self, first_input: float = 128 / 255 - 0.5) -> None:
        """All lanes back to sample 0; `first_input` stands for the sample before the first."""

    @property
    def position(self) -> int:
        """Samples decoded since the last reset."""

    @property
    def lanes(self) -> int: ...
    @property
    def guided(self) -> bool: ...
    @property
    def device(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def kernel(self) -> str:
        """Which kernels decode, in words."""

    @property
    def description(self) -> str:
        """How the lanes are spread over the GPU, in words."""

    @property
    def memory_bytes(self) -> int:
        """Of the GPU's memory."""

class ReferenceEncoder:
    """The scalar oracle: slow, obvious, double-precision accumulation."""

    def __init__(self, sizes: Sizes, weights: Weights) -> None: ...
    def encode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[T] -> [F, C], F = T // pool."""

class ReferenceSampler:
    """The scalar oracle of `Sampler`, for one lane."""

    def __init__(self, sizes: Sizes, weights: Weights, guided: bool = False) -> None: ...
    def sample(
        self,
        condition: NDArray[np.float32],
        uniforms: NDArray[np.float32],
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Condition [F, C] and uniforms [T] -> codes [T]; state stays between calls as in `Sampler`."""

    def score(
        self, condition: NDArray[np.float32], codes: NDArray[np.uint8], guidance: float = 1.0
    ) -> NDArray[np.float32]:
        """[T] codes -> logits [T, A], step by step."""

    def teacher_forced(self, condition: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[F, C], [T] codes -> logits [T, A] by whole-sequence convolutions, zero before the first sample; no state."""

    def reset(self, first_input: float = 128 / 255 - 0.5) -> None: ...
    @property
    def position(self) -> int: ...

class Buffer:
    """Memory of the core's pool, uninitialised, through the buffer protocol; kept for the next request when it ends."""

    def __init__(self, bytes: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class GatedResidualStack:
    """The decoder's residual stack on the CPU for one shape (csrc/include/musicstar/stacks.h), for tensors' pointers.

    `element`: float32, or float64 for the scalar reference. Arrays are contiguous and of that type, buffers aligned to
    64 bytes and of the sizes that the object says; only the caller can know that, and must.

    Raises:
        ValueError: sizes, names, or a pointer that is null or misaligned.
    """

    def __init__(
        self,
        *,
        batch: int,
        time: int,
        residual: int,
        skip: int,
        kernel_size: int,
        dilations: list[int],
        frames: int,
        pool: int,
        element: str,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def saved_bytes(self) -> int: ...
    @property
    def inference_bytes(self) -> int: ...
    @property
    def forward_bytes(self) -> int: ...
    @property
    def backward_bytes(self) -> int: ...
    def forward(
        self,
        *,
        x: int,
        condition: int,
        dilated: int,
        residual: int,
        residual_bias: int,
        skip: int,
        result: int,
        saved: int | None,
        scratch: int,
    ) -> None:
        """`saved` None: an inference, with `inference_bytes` of scratch; else `forward_bytes` of it."""

    def backward(
        self,
        *,
        x: int,
        condition: int,
        dilated: int,
        residual: int,
        residual_bias: int,
        skip: int,
        result_gradient: int,
        x_gradient: int | None,
        condition_gradient: int | None,
        dilated_gradient: int | None,
        residual_gradient: int | None,
        residual_bias_gradient: int | None,
        skip_gradient: int | None,
        saved: int,
        scratch: int,
    ) -> None:
        """Write the gradients that are not None."""

class GluResidualStack:
    """The encoders' residual stack on the CPU; as `GatedResidualStack`."""

    def __init__(
        self,
        *,
        gated: bool,
        batch: int,
        time: int,
        channels: int,
        kernel_size: int,
        dilations: list[int],
        element: str,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def saved_bytes(self) -> int: ...
    @property
    def inference_bytes(self) -> int: ...
    @property
    def forward_bytes(self) -> int: ...
    @property
    def backward_bytes(self) -> int: ...
    def forward(
        self,
        *,
        x: int,
        dilated: int,
        dilated_bias: int,
        pointwise: int,
        pointwise_bias: int,
        result: int,
        saved: int | None,
        scratch: int,
    ) -> None: ...
    def backward(
        self,
        *,
        x: int,
        dilated: int,
        dilated_bias: int,
        pointwise: int,
        pointwise_bias: int,
        result_gradient: int,
        x_gradient: int | None,
        dilated_gradient: int | None,
        dilated_bias_gradient: int | None,
        pointwise_gradient: int | None,
        pointwise_bias_gradient: int | None,
        saved: int,
        scratch: int,
    ) -> None: ...
