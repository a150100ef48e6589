"""The residual stacks on a GPU through torch: on a real one with CUDA tensors, on the emulated one with CPU tensors.

The emulated GPU's memory is the machine's, so that the operations' code (arguments, buffers, autograd) runs on CPU
tensors with the CUDA kernels behind it: what is replaced is only the choice of the core's class by the tensors' device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from musicstar_ext import ops
from musicstar_ext.ops import calls, checks
from musicstar_ext.runtime.core import core

Stack = tuple[Callable[..., Tensor], list[Tensor], tuple[Any, ...]]

# Of the norm. fp32: rounding in sums. bf16: what is stored between layers, and units whose ReLU changes sides by it.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 4e-2}


def random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def gated_stack(batch: int, time: int, channels: int, dilations: list[int], pool: int, kernel_size: int = 2) -> Stack:
    """An operation, its tensors in float64, and what comes after them."""
    layers, frames, scale = len(dilations), max(1, -(-time // pool)), channels**-0.5
    tensors = [
        random(batch, time, channels, seed=1),
        random(layers, batch, frames, 2 * channels, seed=2, scale=0.5),
        random(layers, 2 * channels, channels, kernel_size, seed=3, scale=scale * kernel_size**-0.5),
        random(layers, channels, channels, seed=4, scale=scale),
        random(layers, channels, seed=5, scale=0.1),
        random(layers, channels, channels, seed=6, scale=scale),
    ]
    return ops.gated_residual_stack, tensors, (dilations, pool)


def glu_stack(batch: int, time: int, channels: int, dilations: list[int], gated: bool) -> Stack:
    layers, scale, outputs = len(dilations), channels**-0.5, (2 if gated else 1) * channels
    tensors = [
        random(batch, time, channels, seed=1),
        random(layers, channels, channels, 3, seed=2, scale=scale * 3**-0.5),
        random(layers, channels, seed=3, scale=0.1),
        random(layers, outputs, channels, seed=4, scale=scale),
        random(layers, outputs, seed=5, scale=0.1),
    ]
    return ops.glu_residual_stack, tensors, (dilations, gated)


def rounded(stack: Stack, dtype: torch.dtype) -> Stack:
    """What the kernels round before they compute, x and the weights of products, rounded; the rest to float32."""
    operation, tensors, rest = stack
    kept = [tensor.to(torch.float32).to(torch.float64) for tensor in tensors]
    for i, tensor in enumerate(kept):
        if i == 0 or tensor.dim() >= 3:
            kept[i] = tensor.to(dtype).to(torch.float64)
    return operation, kept, rest


def outcome(stack: Stack, dtype: torch.dtype, others: torch.dtype, device: str = "cpu") -> list[Tensor]:
    """The result and the gradients of all tensors, float64 on the CPU."""
    operation, tensors, rest = stack
    leaves = [tensor.to(device, others if i else dtype).clone().requires_grad_() for i, tensor in enumerate(tensors)]
    result = operation(*leaves, *rest)
    weights = random(*result.shape, seed=9).to(torch.bfloat16)
    result.backward(weights.to(device, dtype))
    gradients = [leaf.grad for leaf in leaves]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None
        assert gradient.dtype == leaf.dtype
    return [part.detach().to("cpu", torch.float64) for part in (result, *gradients) if part is not None]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for part, (here, there) in enumerate(zip(found, expected, strict=True)):
        assert here.shape == there.shape
        difference = (here - there).norm() / there.norm().clamp_min(1e-6)
        assert difference <= tolerance, f"part {part}: {difference:.2e}"


# --- On the emulated GPU ---------------------------------------------------------------------------------------------


class Waiting:
    """One of the core's stacks, whose calls return when their work is done: the CPU's tensors know no streams."""

    def __init__(self, stack: Any) -> None:
        self.stack = stack

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.stack, name)
        if name not in ("forward", "backward"):
            return found

        def call(**arguments: Any) -> None:
            found(**arguments)
            core.cuda_wait()

        return call


def is_emulated() -> bool:
    try:
        return bool(core.cuda_devices()[0]["emulated"])
    except RuntimeError:  # no CUDA in this build, no driver, no device
        return False


@pytest.fixture
def on_the_emulated_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function (path) from whose call on CPU tensors go to the emulated GPU."""
    if not is_emulated():
        pytest.skip("needs a core built with -DMUSICSTAR_CUDA=EMULATED")

    def aligned(size: int, like: Tensor) -> Tensor:
        room = torch.full((size + 256,), 0xFF, dtype=torch.uint8)  # NaN: what is read must have been written
        return room[-room.data_ptr() % 256 :][:size]

    def start(path: str = "automatic") -> None:
        def make(kind: str, x: Tensor, sizes: dict[str, Any]) -> Any:
            return Waiting(getattr(core, f"Cuda{kind}")(**sizes, element=str(x.dtype)[6:], path=path))

        monkeypatch.setattr(calls, "make_stack", make)
        monkeypatch.setattr(calls, "buffer", aligned)
        monkeypatch.setattr(checks, "check_tensors", lambda *_: None)  # the CPU's dtypes are others

    return start


SMALL = {
    "gated": lambda: gated_stack(2, 19, 5, [1, 2, 4], 7),
    "glu": lambda: glu_stack(2, 19, 5, [1, 2, 4], True),
    "plain": lambda: glu_stack(1, 21, 6, [1, 30], False),
}
TENSOR_CORE = {
    "gated": lambda: gated_stack(1, 70, 32, [1, 16], 33),
    "glu": lambda: glu_stack(1, 70, 32, [1, 16], True),
    "plain": lambda: glu_stack(1, 70, 32, [4], False),
}


@pytest.mark.cuda
@pytest.mark.parametrize("kind", SMALL)
def test_fp32_equals_the_reference(kind: str, on_the_emulated_gpu: Callable[..., None]) -> None:
    stack = rounded(SMALL[kind](), torch.float32)
    expected = outcome(stack, torch.float64, torch.float64)
    on_the_emulated_gpu()
    assert_close(outcome(stack, torch.float32, torch.float32), expected, TOLERANCES[torch.float32])


@pytest.mark.cuda
@pytest.mark.parametrize("path", ["general", "mma", "wgmma"])
@pytest.mark.parametrize("kind", TENSOR_CORE)
def test_bf16_equals_the_reference(kind: str, path: str, on_the_emulated_gpu: Callable[..., None]) -> None:
    stack = rounded(TENSOR_CORE[kind](), torch.bfloat16)
    expected = outcome(stack, torch.float64, torch.float64)
    on_the_emulated_gpu(path)
    assert_close(outcome(stack, torch.bfloat16, torch.float32), expected, TOLERANCES[torch.bfloat16])


@pytest.mark.cuda
@pytest.mark.parametrize("kind", SMALL)
def test_inference_equals_training(kind: str, on_the_emulated_gpu: Callable[..., None]) -> None:
    operation, tensors, rest = SMALL[kind]()
    leaves = [tensor.float() for tensor in tensors]
    on_the_emulated_gpu()
    with torch.no_grad():
        inferred = operation(*leaves, *rest)
    leaves[0].requires_grad_()
    torch.testing.assert_close(operation(*leaves, *rest).detach(), inferred, rtol=1e-6, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", SMALL)
def test_frozen_parameters_change_no_other_gradient(kind: str, on_the_emulated_gpu: Callable[..., None]) -> None:
    operation, tensors, rest = SMALL[kind]()
    on_the_emulated_gpu()

    def gradients(wanted: set[int]) -> list[Tensor | None]:
        leaves = [tensor.float().requires_grad_(i in wanted) for i, tensor in enumerate(tensors)]
        operation(*leaves, *rest).square().sum().backward()
        return [leaf.grad for leaf in leaves]

    everything = gradients(set(range(len(tensors))))
    for i in range(len(tensors)):
        alone = gradients({i})
        assert [gradient is not None for gradient in alone] == [j == i for j in range(len(tensors))]
        assert torch.equal(alone[i], everything[i])


# --- What the binding refuses; needs no GPU --------------------------------------------------------------------------

GATED = {
    "batch": 1,
    "time": 8,
    "residual": 4,
    "skip": 4,
    "kernel_size": 2,
    "dilations": [1],
    "frames": 1,
    "pool": 8,
    "element": "float32",
}
GLU = {
    "gated": True,
    "batch": 1,
    "time": 8,
    "channels": 4,
    "kernel_size": 3,
    "dilations": [1],
    "element": "float32",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": -1}, "batch must be from 0"),
        ({"time": 2**40}, "time must be from 0"),
        ({"residual": 0}, "residual must be from 1"),
        ({"kernel_size": 65}, "kernel_size must be from 1 to 64"),
        ({"dilations": [0]}, "a dilation must be from 1"),
        ({"dilations": [1] * 5000}, "the number of dilations"),
        ({"pool": 0}, "pool must be from 1"),
        ({"frames": 0}, "8 samples need more than 0 frames of 8"),
        ({"batch": 2**31, "time": 2**31, "frames": 2**31}, "too large"),
        ({"element": "float16"}, "element must be 'float32' or 'bfloat16', not 'float16'"),
    ],
)
def test_sizes_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        core.CudaGatedResidualStack(**{**GATED, **change})


def test_the_encoders_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="channels must be from 1 to 65536, not 0"):
        core.CudaGluResidualStack(**{**GLU, "channels": 0})


@pytest.mark.skipif(bool(core.cuda_build()), reason="this build has CUDA")
def test_a_build_without_cuda_says_so() -> None:
    for make in (
        lambda: core.CudaGatedResidualStack(**GATED),
        lambda: core.CudaGluResidualStack(**GLU),
        core.cuda_wait,
    ):
        with pytest.raises(RuntimeError, match="no usable GPU: this build has no CUDA"):
            make()


@pytest.mark.cuda
def test_paths_and_addresses_are_checked(on_the_emulated_gpu: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="unknown path 'fast'; there are: automatic, general, mma, wgmma"):
        core.CudaGluResidualStack(**GLU, path="fast")
    with pytest.raises(ValueError, match="the path 'mma' computes in bf16"):
        core.CudaGluResidualStack(**GLU, path="mma")
    with pytest.raises(ValueError, match="32, 64 or 128 channels"):
        core.CudaGluResidualStack(**{**GLU, "element": "bfloat16"}, path="mma")
    stack = core.CudaGluResidualStack(**GLU)
    assert stack.path == "general"
    names = ("x", "dilated", "dilated_bias", "pointwise", "pointwise_bias", "result", "scratch")
    addresses = dict.fromkeys(names, 4096)
    for name in names:
        with pytest.raises(ValueError, match=f"{name} must not be null"):
            stack.forward(**{**addresses, name: 0}, saved=None)
        with pytest.raises(ValueError, match=f"{name} must be aligned to"):
            stack.forward(**{**addresses, name: 4100}, saved=None)


# --- On a real GPU ---------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and core.cuda_build()), reason="needs a GPU, torch with CUDA and a core with CUDA"
)
WIDE = {
    "gated": lambda: gated_stack(2, 1601, 128, [1, 2, 512], 800),
    "glu": lambda: glu_stack(2, 1601, 128, [1, 2, 512], True),
    "plain": lambda: glu_stack(2, 1601, 64, [1, 2, 512], False),
}


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", WIDE)
def test_a_gpu_equals_the_reference(kind: str, dtype: torch.dtype) -> None:
    stack = rounded(WIDE[kind](), dtype)
    expected = outcome(stack, torch.float64, torch.float64)
    found = outcome(stack, dtype, torch.float32, "cuda")
    assert_close(found, expected, TOLERANCES[dtype])
    for here, again in zip(found, outcome(stack, dtype, torch.float32, "cuda"), strict=True):
        assert torch.equal(here, again)  # no bit depends on which block came first


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("kind", WIDE)
def test_autocast_stores_bf16_and_gives_float32_gradients(kind: str) -> None:
    operation, tensors, rest = WIDE[kind]()
    leaves = [tensor.float().cuda().requires_grad_() for tensor in tensors]
    with torch.autocast("cuda", torch.bfloat16):
        result = operation(*leaves, *rest)
    assert result.dtype == torch.bfloat16
    result.float().square().mean().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == torch.float32 for leaf in leaves)


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("kind", WIDE)
def test_a_step_can_be_captured(kind: str) -> None:
    operation, tensors, rest = WIDE[kind]()
    leaves = [tensor.to("cuda", torch.float32 if i else torch.bfloat16) for i, tensor in enumerate(tensors)]
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def step() -> list[Tensor]:
        result = operation(*leaves, *rest)
        return [result, *torch.autograd.grad(result, leaves, torch.ones_like(result))]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        expected = [part.clone() for part in step()]
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    torch.cuda.synchronize()
    for here, there in zip(captured, expected, strict=True):
        assert torch.equal(here, there)


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("kind", WIDE)
def test_compiled_is_the_same_graph(kind: str) -> None:
    operation, tensors, rest = WIDE[kind]()
    leaves = [tensor.to("cuda", torch.float32 if i else torch.bfloat16) for i, tensor in enumerate(tensors)]
    compiled = torch.compile(lambda *given: operation(*given, *rest), fullgraph=True)
    assert torch.equal(compiled(*leaves), operation(*leaves, *rest))
