"""What `training.py` times: the stacks and the whole step, by our operations and by plain PyTorch in several ways."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import _musicstar_core as core
import torch
from pytorch_stacks import (
    Convolve,
    Stack,
    autoencoder_logits,
    by_images,
    by_taps,
    gated_residual_stack,
    glu_residual_stack,
)
from torch import Tensor
from torch.nn import functional

from musicstar_ext import ops
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.nn import MusicStarEncoder, WaveNetDecoder, backend
from musicstar_ext.nn.initialisation import preserve_variance

Logits = Callable[[MusicStarEncoder, WaveNetDecoder, Tensor, Tensor], Tensor]  # -> [B, T, A]
EAGER, COMPILED = "PyTorch eager", "torch.compile"
STEP = "training step"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Parts:
    """What all cases of one size share: networks, a batch of codes [B, T], and the inputs of the stacks alone."""

    encoder: MusicStarEncoder
    decoder: WaveNetDecoder
    source: Tensor
    target: Tensor
    gated_inputs: tuple[Tensor, ...]  # x, condition, dilated, residual, residual_bias, skip
    glu_inputs: tuple[Tensor, ...]  # x, dilated, dilated_bias, pointwise, pointwise_bias

    @property
    def device(self) -> torch.device:
        return self.source.device


def parts_of(encoder: EncoderConfig, decoder: DecoderConfig, device: torch.device, batch: int, samples: int) -> Parts:
    """Networks with weights that keep variance, and random inputs."""
    torch.manual_seed(0)
    networks = MusicStarEncoder(encoder), WaveNetDecoder(decoder)
    for network in networks:
        preserve_variance(network)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.05)
        network.to(device)
    codes = torch.randint(0, 256, (2, batch, samples), device=device)
    frames = -(-samples // decoder.pool)

    def stacked(layers: Sequence[torch.nn.Module], part: str, tensor: str) -> Tensor:
        found = torch.stack([getattr(getattr(layer, part), tensor).detach() for layer in layers])
        return found.squeeze(3) if found.dim() == 4 and part != "dilated" else found

    gated, glu = list(networks[1].layers), list(networks[0].layers)
    r, layers = decoder.residual_channels, len(decoder.dilations)
    gated_inputs = (
        torch.randn(batch, samples, r, device=device),
        0.5 * torch.randn(layers, batch, frames, 2 * r, device=device),
        stacked(gated, "dilated", "weight"),
        stacked(gated, "residual", "weight"),
        stacked(gated, "residual", "bias"),
        stacked(gated, "skip", "weight"),
    )
    glu_inputs = (
        torch.randn(batch, samples, encoder.channels, device=device),
        *(stacked(glu, part, tensor) for part in ("dilated", "pointwise") for tensor in ("weight", "bias")),
    )
    return Parts(networks[0], networks[1], codes[0], codes[1], gated_inputs, glu_inputs)


class Case:
    """One way to compute the stacks and the step.

    Args:
        gated, glu: the stacks, with the arguments of `musicstar_ext.ops`.
        logits: the whole of both networks.
        precision: fp32, or bf16 for autocast.
        isa: what the row says: our instruction set or kernels, else "torch".
        begin: called before every unit of work.
    """

    def __init__(
        self,
        parts: Parts,
        gated: Callable[..., Tensor],
        glu: Callable[..., Tensor],
        logits: Logits,
        precision: str,
        isa: str = "torch",
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts, self.precision, self.isa, self.begin = parts, precision, isa, begin
        self.encoder, self.decoder = copy.deepcopy(parts.encoder), copy.deepcopy(parts.decoder)
        self.logits = logits
        dilations, pool = parts.decoder.config.dilations, parts.decoder.config.pool
        kind = parts.encoder.config.kind == "music-star"
        self._gated = lambda *inputs: gated(*inputs, dilations, pool)
        self._glu = lambda *inputs: glu(*inputs, parts.encoder.config.dilations, kind)

    def cast(self) -> contextlib.AbstractContextManager[object]:
        """Autocast where the precision asks for it."""
        on = self.precision == "bf16"
        return torch.autocast(self.parts.device.type, torch.bfloat16) if on else contextlib.nullcontext()

    def stack(self, part: str) -> tuple[Callable[..., Tensor], list[Tensor]]:
        """The stack that a part names, and its inputs: sequences in the case's type, weights in fp32, all leaves."""
        inputs = self.parts.gated_inputs if part.startswith("decoder") else self.parts.glu_inputs
        sequences = 2 if part.startswith("decoder") else 1
        leaves = [t.to(DTYPES[self.precision]) if i < sequences else t for i, t in enumerate(inputs)]
        return (
            self._gated if part.startswith("decoder") else self._glu,
            [t.detach().clone().requires_grad_() for t in leaves],
        )

    def loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy in nats a sample."""
        return functional.cross_entropy(logits.float().flatten(0, 1), self.parts.target.flatten())

    def calls(self, part: str) -> Callable[[int], object]:
        """A case of `timing.rates`: a call does a part of the work n times, and waits until a GPU is done."""
        if part == STEP:
            work = self._step()
        else:
            stack, inputs = self.stack(part)
            with torch.no_grad(), self.cast():
                gradient = torch.randn_like(stack(*inputs))
            work = functools.partial(
                self._backward if part.endswith("backward") else self._forward, stack, inputs, gradient
            )

        def call(count: int) -> None:
            for _ in range(count):
                self.begin()
                work()
            if self.parts.device.type == "cuda":
                torch.cuda.synchronize(self.parts.device)

        return call

    def _forward(self, stack: Callable[..., Tensor], inputs: list[Tensor], gradient: Tensor) -> None:
        with torch.no_grad(), self.cast():
            stack(*inputs)

    def _backward(self, stack: Callable[..., Tensor], inputs: list[Tensor], gradient: Tensor) -> None:
        with self.cast():
            result = stack(*inputs)
        torch.autograd.grad(result, inputs, gradient, allow_unused=True)

    def _step(self) -> Callable[[], None]:
        encoder, decoder = copy.deepcopy(self.encoder), copy.deepcopy(self.decoder)  # these learn, the case's do not
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=1e-6, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with self.cast():
                logits = self.logits(encoder, decoder, self.parts.source, self.parts.target)
                loss = self.loss(logits)
            loss.backward()
            optimizer.step()

        return step


def in_pytorch(convolve: Convolve) -> tuple[Stack, Stack, Logits]:
    """The decoder's stack, the encoders' and the whole, with one way to convolve."""

    def logits(encoder: MusicStarEncoder, decoder: WaveNetDecoder, source: Tensor, target: Tensor) -> Tensor:
        return autoencoder_logits(encoder, decoder, source, target, convolve)

    return gated_residual_stack(convolve), glu_residual_stack(convolve), logits


def cases_of(parts: Parts, with_compile: bool) -> dict[str, Case]:
    """Ours and the baselines of a device; the first "PyTorch eager" is what ratios are to."""

    def plain(convolve: Convolve, precision: str, compiled: str = "") -> Case:
        functions = in_pytorch(convolve)
        if not compiled:
            return Case(parts, *functions, precision)
        made = [torch.compile(function, fullgraph=True, dynamic=False, mode=compiled) for function in functions]
        return Case(parts, *made, precision, begin=torch.compiler.cudagraph_mark_step_begin)

    def ours(precision: str, isa: str) -> Case:
        def logits(encoder: MusicStarEncoder, decoder: WaveNetDecoder, source: Tensor, target: Tensor) -> Tensor:
            with backend("core"):
                found: Tensor = decoder(target, encoder(source))
            return found.transpose(1, 2)

        return Case(parts, ops.gated_residual_stack, ops.glu_residual_stack, logits, precision, isa)

    if parts.device.type == "cpu":
        found = {"ours": ours("fp32", core.active_isa()), EAGER: plain(by_taps, "fp32")}
        if core.supported_isas()[-1] == "avx512-dot":  # others only imitate it
            found["PyTorch eager, bf16"] = plain(by_taps, "bf16")
        if with_compile:
            found[COMPILED] = plain(by_taps, "fp32", "default")
        return found
    found = {"ours": ours("bf16", "cuda"), EAGER: plain(by_taps, "bf16")}
    found["PyTorch channels last"] = plain(by_images, "bf16")
    if with_compile:
        found[COMPILED] = plain(by_taps, "bf16", "max-autotune")
    return found


def expected_of(parts: Parts) -> list[list[Tensor]]:
    """Results and gradients of the stacks and the whole, by plain PyTorch in fp32."""
    return _computed(Case(parts, *in_pytorch(by_taps), "fp32"))


def differences(case: Case, expected: list[list[Tensor]]) -> tuple[float, float]:
    """How far a case's results and gradients are from the expected ones.

    Each is the norm of the difference over the norm of what is expected: the largest of the two stacks and the whole.
    """
    found = _computed(case)
    pairs = [list(zip(e, f, strict=True)) for e, f in zip(expected, found, strict=True)]
    results = max(_relative([pair[0]]) for pair in pairs)
    return results, max(_relative(pair[1:]) for pair in pairs)


def _computed(case: Case) -> list[list[Tensor]]:
    """For each stack and the whole: the result, then all gradients."""
    found = []
    for part in ("decoder", "encoder"):
        stack, inputs = case.stack(part)
        case.begin()
        with case.cast():
            result = stack(*inputs)
        torch.manual_seed(1)
        gradient = torch.randn(result.shape, device=result.device).to(result.dtype)
        gradients = torch.autograd.grad(result, inputs, gradient, allow_unused=True)
        found.append(
            [
                result.detach(),
                *(torch.zeros_like(i) if g is None else g for i, g in zip(inputs, gradients, strict=True)),
            ]
        )
    case.begin()
    with case.cast():
        logits = case.logits(case.encoder, case.decoder, case.parts.source, case.parts.target)
        loss = case.loss(logits)
    parameters = [*case.encoder.parameters(), *case.decoder.parameters()]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    found.append([logits.detach(), *zeros])
    return [[tensor.double().clone() for tensor in tensors] for tensors in found]


def _relative(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    squares = [((e - f).square().sum(), e.square().sum()) for e, f in pairs]
    return float((sum(a for a, _ in squares) / sum(b for _, b in squares)) ** 0.5)
