"""The residual stacks as torch operations on the CPU: values, gradients, and every way that torch calls them."""

from __future__ import annotations

import itertools

import pytest
import torch

from musicstar_ext import ops
from musicstar_ext.errors import UserError

from . import stacks

CASES = {
    "gated": stacks.gated,
    "glu": stacks.glu,
    "plain": lambda **sizes: stacks.glu(is_gated=False, **sizes),
}
FORWARDS = {
    "gated": torch.ops.musicstar_ext.gated_residual_stack_forward,
    "glu": torch.ops.musicstar_ext.glu_residual_stack_forward,
    "plain": torch.ops.musicstar_ext.glu_residual_stack_forward,
}
every_case = pytest.mark.parametrize("kind", CASES)


@pytest.fixture
def threads():
    """A function that sets torch's number of threads; the one before comes back at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_equals_plain_torch(case, tolerance):
    found, expected = case.run(case.operation), case.run(case.plain)
    for part, (here, there) in enumerate(zip(found, expected, strict=True)):
        assert here.dtype == there.dtype
        scale = max(there.abs().max().item(), 1.0) if there.numel() else 1.0
        torch.testing.assert_close(here, there, rtol=0, atol=tolerance * scale, msg=lambda m, p=part: f"part {p}: {m}")


@every_case
@pytest.mark.parametrize("time", [1, 2, 97, 211])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_equals_plain_torch(kind, time, kernel_size):
    assert_equals_plain_torch(CASES[kind](time=time, kernel_size=kernel_size), 2e-5)


@every_case
@pytest.mark.parametrize("time", [1, 40, 97, 211])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_wide_ones_equal_plain_torch(kind, time, kernel_size):
    """From 64 channels on, rows of a convolution are taken in pairs where that spares products."""
    width = {"residual": 64} if kind == "gated" else {"channels": 64}
    case = CASES[kind](batch=1, time=time, kernel_size=kernel_size, dilations=(1, 3, 40, 200), **width)
    assert_equals_plain_torch(case, 2e-5)


@every_case
def test_float64_is_the_reference(kind):
    assert_equals_plain_torch(CASES[kind](dtype=torch.float64), 1e-12)


@every_case
@pytest.mark.parametrize("sizes", [{"batch": 0}, {"time": 0}], ids=["no rows", "no samples"])
def test_nothing_gives_zero_gradients(kind, sizes):
    case = CASES[kind](**sizes)
    result, *gradients = case.run(case.operation)
    assert result.numel() == 0
    assert all((gradient == 0).all() for gradient in gradients)


@every_case
def test_gradcheck(kind):
    case = CASES[kind](batch=1, time=7, dilations=(1, 3), dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in case.tensors]
    assert torch.autograd.gradcheck(lambda *t: case.operation(*t, *case.parameters), leaves)


@every_case
@pytest.mark.parametrize("save", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's own tracing
def test_opcheck(kind, save):
    case = CASES[kind](time=9)
    tensors = [tensor.requires_grad_(save) for tensor in case.tensors]
    torch.library.opcheck(FORWARDS[kind], (*tensors, *map(_plain_list, case.parameters), save))


def _plain_list(value):
    return list(value) if isinstance(value, tuple) else value


@every_case
def test_threads_change_no_bit(kind, threads):
    case = CASES[kind](batch=3, time=450)
    threads(1)
    one = case.run(case.operation)
    for count in (2, 3):
        threads(count)
        for here, there in zip(case.run(case.operation), one, strict=True):
            assert torch.equal(here, there)


@every_case
def test_the_same_twice(kind):
    case = CASES[kind](time=300)
    for here, there in zip(case.run(case.operation), case.run(case.operation), strict=True):
        assert torch.equal(here, there)


@every_case
def test_a_gradient_that_nobody_wants_changes_no_other(kind):
    case = CASES[kind]()
    everything = case.run(case.operation)
    count = len(case.tensors)
    for wanted in itertools.chain([(i,) for i in range(count)], [(0, count - 1), tuple(range(1, count))]):
        found = case.run(case.operation, wanted)
        for i in range(count):
            if i in wanted:
                assert torch.equal(found[1 + i], everything[1 + i])
            else:
                assert found[1 + i] is None


@every_case
def test_non_contiguous_tensors(kind):
    case = CASES[kind]()
    expected = case.run(case.operation)
    leaves = []
    for tensor in case.tensors:
        wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), float("nan"))
        wide[..., ::2] = tensor
        leaves.append(wide[..., ::2].detach().requires_grad_())
        assert not leaves[-1].is_contiguous()
    result = case.operation(*leaves, *case.parameters)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).float()
    strided = torch.empty(*reversed(weights.shape)).permute(2, 1, 0)
    result.backward(strided.copy_(weights))
    for here, there in zip([result.detach(), *(leaf.grad for leaf in leaves)], expected, strict=True):
        assert torch.equal(here, there)


@every_case
def test_saves_only_what_a_backward_needs(kind):
    case = CASES[kind]()
    arguments = (*case.tensors, *map(_plain_list, case.parameters))
    result, saved = FORWARDS[kind](*arguments, False)
    assert saved.numel() == 0
    kept, saved = FORWARDS[kind](*arguments, True)
    assert saved.numel() > 0
    assert torch.equal(result, kept)
    leaves = [tensor.requires_grad_() for tensor in case.tensors]
    with torch.no_grad():
        assert case.operation(*leaves, *case.parameters).grad_fn is None
    result, _ = FORWARDS[kind](*leaves, *map(_plain_list, case.parameters), False)
    with pytest.raises(UserError, match="told to save nothing"):
        result.sum().backward()


@every_case
def test_two_backwards_of_one_forward(kind):
    case = CASES[kind]()
    leaves = [tensor.requires_grad_() for tensor in case.tensors]
    loss = case.operation(*leaves, *case.parameters).square().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for here, there in zip(torch.autograd.grad(loss, leaves), first, strict=True):
        assert torch.equal(here, there)


@every_case
def test_no_second_derivative(kind):
    case = CASES[kind]()
    leaves = [tensor.requires_grad_() for tensor in case.tensors]
    (gradient,) = torch.autograd.grad(case.operation(*leaves, *case.parameters).sum(), leaves[:1], create_graph=True)
    with pytest.raises(UserError, match="no second derivative"):
        gradient.sum().backward()


@every_case
def test_autocast_computes_in_float32(kind):
    case = CASES[kind]()
    expected = case.run(case.operation)

    def under_autocast(*arguments):
        with torch.autocast("cpu", torch.bfloat16):
            return case.operation(*arguments)

    for here, there in zip(case.run(under_autocast), expected, strict=True):
        assert here.dtype == torch.float32
        assert torch.equal(here, there)
    halves = [tensor.bfloat16() for tensor in case.tensors]
    with torch.autocast("cpu", torch.bfloat16):
        assert case.operation(*halves, *case.parameters).dtype == torch.float32


@every_case
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_into_one_graph(kind, dynamic):
    case = CASES[kind]()
    compiled = torch.compile(case.operation, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for here, there in zip(case.run(compiled), case.run(case.operation), strict=True):
        assert torch.equal(here, there)
    torch._dynamo.reset()


@every_case
def test_a_nan_stays(kind):
    case = CASES[kind]()
    case.tensors[0][0, 3] = float("nan")
    result = case.operation(*case.tensors, *case.parameters)
    assert result[0, 3].isnan().all()
    assert result[1].isfinite().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: torch.zeros(2, 29)}, "x must have 3 dimensions, not 2"),
        ({2: torch.zeros(3, 10, 4, 2)}, r"dilated must be \[3, 10, 5, 2\], not \[3, 10, 4, 2\]"),
        ({5: torch.zeros(2, 7, 5)}, r"skip must be \[3, 7, 5\]"),
        ({3: torch.zeros(3, 5, 5, dtype=torch.float64)}, "residual must be float32, not float64"),
        ({0: torch.zeros(2, 29, 5, dtype=torch.float16)}, "x must be float32 or float64 on this device, not float16"),
        ({1: torch.zeros(3, 2, 3, 10, device="meta")}, "condition is on meta, x on cpu"),
        ({6: (1, 2)}, r"condition must be \[2, 2, 3, 10\]"),
        ({6: (1, 0, 3)}, "dilations must be at least 1, not 0"),
        ({7: 9}, "3 frames of 9 do not cover 29 samples"),
        ({7: 0}, "3 frames of 0 do not cover"),
        ({6: (1, 2, 1 << 50)}, "a dilation must be from 1 to"),
    ],
)
def test_what_does_not_fit_is_named(changed, message):
    case = stacks.gated()
    arguments = [*case.tensors, *case.parameters]
    for index, value in changed.items():
        arguments[index] = value
    with pytest.raises(UserError, match=message):
        ops.gated_residual_stack(*arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({1: torch.zeros(3, 5, 5)}, "dilated must have 4 dimensions, not 3"),
        ({6: False}, r"pointwise must be \[3, 5, 5\], not \[3, 10, 5\]"),
        ({5: (1, -2, 3)}, "dilations must be at least 1, not -2"),
    ],
)
def test_what_does_not_fit_the_encoders_stack_is_named(changed, message):
    case = stacks.glu()
    arguments = [*case.tensors, *case.parameters]
    for index, value in changed.items():
        arguments[index] = value
    with pytest.raises(UserError, match=message):
        ops.glu_residual_stack(*arguments)


def test_supports_says_what_the_operations_take():
    assert ops.supports(torch.zeros(1))
    assert ops.supports(torch.zeros(1, dtype=torch.float64))
    assert not ops.supports(torch.zeros(1, dtype=torch.bfloat16))
    assert not ops.supports(torch.zeros(1, device="meta"))


def test_saved_memory_of_another_shape_is_refused():
    case, other = stacks.gated(), stacks.gated(time=60)
    _, saved = FORWARDS["gated"](*other.tensors, [1, 2, 40], 10, True)
    arguments = (torch.zeros(2, 29, 7), saved, *case.tensors, [1, 2, 40], 10, [True] * 6)
    with pytest.raises(UserError, match="a forward of this shape saves"):
        torch.ops.musicstar_ext.gated_residual_stack_backward(*arguments)
