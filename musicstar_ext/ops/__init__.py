"""The core's residual stacks as torch operations: forward, backward, shapes, autocast, `torch.compile`.

    from musicstar_ext import ops
    skip_sum = ops.gated_residual_stack(x, condition, dilated, residual, residual_bias, skip, dilations, pool)
    y = ops.glu_residual_stack(x, dilated, dilated_bias, pointwise, pointwise_bias, dilations)

One call is a whole stack of layers. On CPU tensors float32 takes the vectorised and threaded kernels (as many threads
as `torch.get_num_threads()`, the same bits for any number of them; MUSICSTAR_ISA forces an instruction set), float64
the scalar reference, which is slow and made for `gradcheck`. On CUDA tensors x is float32 or bfloat16, weights are
float32. Autocast computes in float32 on the CPU, and with x in bfloat16 on CUDA. On the CPU the memory that a step took
is kept for the next one.
"""

from .checks import supports
from .gated_residual_stack import gated_residual_stack
from .glu_residual_stack import glu_residual_stack

__all__ = ["gated_residual_stack", "glu_residual_stack", "supports"]
