"""Five ways to draw samples with the decoder in PyTorch: the baselines, from what everyone writes first to the best.

All take inputs [B, 1] (code / 255 - 0.5 of the sample before) and give logits [B, A] under one condition frame [B, C].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.nn import backend, build_network, load_weights

START = 128 / 255 - 0.5  # the input of the first sample


class TorchSampler:
    """What the baselines share: the draw. A subclass gives the step."""

    lanes: int

    def step(self, inputs: Tensor) -> Tensor:
        """Inputs [B, 1] -> logits [B, A]; advances the state by a sample."""
        raise TypeError(f"{type(self).__name__} has no step")

    def sample(self, count: int) -> None:
        """Draw `count` samples in each lane."""
        inputs = torch.full((self.lanes, 1), START)
        for _ in range(count):
            codes = torch.multinomial(torch.softmax(self.step(inputs), 1), 1)
            inputs = codes / 255 - 0.5


class NaiveSampler(TorchSampler):
    """The training module over the whole receptive field, for every sample again."""

    def __init__(self, config: DecoderConfig, weights: Tensors, condition: Tensor) -> None:
        self.lanes = condition.shape[0]
        self.network = build_network(config)
        load_weights(self.network, weights)
        length = config.receptive_field
        self.frames = condition[:, :, None].expand(-1, -1, -(-length // config.pool) + 1)
        self.codes = torch.full((self.lanes, length + 1), 128)  # the last one is what is asked for

    def step(self, inputs: Tensor) -> Tensor:
        self.codes = self.codes.roll(-1, 1)
        self.codes[:, -2:-1] = torch.round((inputs + 0.5) * 255).long()
        with backend("torch"):
            logits: Tensor = self.network(self.codes, self.frames)
        return logits[:, :, -1]


class PublishedSampler(TorchSampler):
    """Queues, as published: Conv1d modules on windows of two samples, deques, the condition's 1x1 every sample."""

    def __init__(self, config: DecoderConfig, weights: Tensors, condition: Tensor) -> None:
        def conv(name: str) -> nn.Conv1d:
            weight = torch.from_numpy(weights[f"{name}.weight"])
            module = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2])
            module.load_state_dict({"weight": weight, "bias": torch.from_numpy(weights[f"{name}.bias"])})
            return module

        self.lanes = condition.shape[0]
        self.condition = condition[:, :, None]
        self.first, self.first_skip = conv("first"), conv("first_skip")
        self.head, self.head_condition, self.logits = conv("head"), conv("head_condition"), conv("logits")
        parts = ("dilated", "condition", "residual", "skip")
        self.layers = [[conv(f"layers.{i}.{part}") for part in parts] for i in range(len(config.dilations))]
        zero = torch.zeros(self.lanes, config.residual_channels, 1)
        self.queues = [deque([zero] * dilation, maxlen=dilation) for dilation in config.dilations]
        self.before = torch.zeros(self.lanes, 1, 1)

    def step(self, inputs: Tensor) -> Tensor:
        inputs = inputs[:, :, None]
        r = self.first(torch.cat([self.before, inputs], 2))
        self.before = inputs
        s = self.first_skip(r)
        for queue, (dilated, condition, residual, skip) in zip(self.queues, self.layers, strict=True):
            window = torch.cat([queue[0], r], 2)
            queue.append(r)
            gate, filter_ = (dilated(window) + condition(self.condition)).chunk(2, 1)
            z = torch.sigmoid(gate) * torch.tanh(filter_)
            r = r + residual(z)
            s = s + skip(z)
        hidden = torch.relu(self.head(torch.relu(s)) + self.head_condition(self.condition))
        logits: Tensor = self.logits(hidden)
        return logits[:, :, 0]


class Step(nn.Module):
    """One sample as a pure function of tensors: every product an addmm, the condition projected beforehand.

    The two taps are one matrix on [older; newest], residual and skip are one matrix. Weights are moved to the
    condition's device and type.
    """

    def __init__(self, config: DecoderConfig, weights: Tensors, condition: Tensor) -> None:
        super().__init__()
        tensors = {name: torch.from_numpy(array).to(condition) for name, array in weights.items()}

        def matrix(name: str, tap: int = 0) -> Tensor:
            return tensors[f"{name}.weight"][:, :, tap].t().contiguous()

        def project(name: str) -> Tensor:
            return torch.addmm(tensors[f"{name}.bias"], condition, matrix(name))

        self.residual = config.residual_channels
        self.first, self.first_bias = tensors["first.weight"][:, 0].t().contiguous(), tensors["first.bias"]
        self.first_skip, self.first_skip_bias = matrix("first_skip"), tensors["first_skip.bias"]
        self.head, self.head_bias = matrix("head"), project("head_condition") + tensors["head.bias"]
        self.logits, self.logits_bias = matrix("logits"), tensors["logits.bias"]
        self.layers = []
        for i in range(len(config.dilations)):
            layer = f"layers.{i}"
            self.layers.append(
                (
                    torch.cat([matrix(f"{layer}.dilated", 0), matrix(f"{layer}.dilated", 1)]),
                    project(f"{layer}.condition") + tensors[f"{layer}.dilated.bias"],
                    torch.cat([matrix(f"{layer}.residual"), matrix(f"{layer}.skip")], dim=1).contiguous(),
                    torch.cat([tensors[f"{layer}.residual.bias"], tensors[f"{layer}.skip.bias"]]),
                )
            )

    def start(self, before: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        r = torch.addmm(self.first_bias, torch.cat([before, inputs], 1), self.first)
        return r, torch.addmm(self.first_skip_bias, r, self.first_skip)

    def layer(self, i: int, older: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        dilated, condition, outputs, output_bias = self.layers[i]
        h = torch.addmm(condition, torch.cat([older, r], 1), dilated)
        z = torch.sigmoid(h[:, : self.residual]) * torch.tanh(h[:, self.residual :])
        y = torch.addmm(output_bias, z, outputs)
        return r + y[:, : self.residual], s + y[:, self.residual :]

    def finish(self, s: Tensor) -> Tensor:
        hidden = torch.relu(torch.addmm(self.head_bias, torch.relu(s), self.head))
        return torch.addmm(self.logits_bias, hidden, self.logits)

    def forward(self, before: Tensor, inputs: Tensor, rings: list[Tensor], slots: Tensor) -> Tensor:
        """A graph without Python in it: `slots` [depth] says where each ring [d, B, R] is read, then written."""
        r, s = self.start(before, inputs)
        for i, ring in enumerate(rings):
            slot = slots[i : i + 1]
            older = ring.index_select(0, slot)[0]
            ring.index_copy_(0, slot, r.unsqueeze(0))
            r, s = self.layer(i, older, r, s)
        return self.finish(s)


class EagerSampler(TorchSampler):
    """The best eager PyTorch we can write: `Step` on preallocated rings, indexed by Python integers."""

    def __init__(self, config: DecoderConfig, weights: Tensors, condition: Tensor) -> None:
        self.lanes = condition.shape[0]
        self.graph = Step(config, weights, condition)
        self.rings = [
            condition.new_zeros(dilation, self.lanes, config.residual_channels) for dilation in config.dilations
        ]
        self.before = condition.new_zeros(self.lanes, 1)
        self.position = 0

    def step(self, inputs: Tensor) -> Tensor:
        r, s = self.graph.start(self.before, inputs)
        self.before = inputs
        for i, ring in enumerate(self.rings):
            slot = ring[self.position % len(ring)]
            next_r, s = self.graph.layer(i, slot, r, s)
            slot.copy_(r)
            r = next_r
        self.position += 1
        return self.graph.finish(s)


class GraphSampler(TorchSampler):
    """`Step` made into one graph by `build`."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Tensors,
        condition: Tensor,
        build: Callable[[Step, tuple[object, ...]], Callable[..., Tensor]],
    ) -> None:
        self.lanes = condition.shape[0]
        self.dilations = torch.tensor(config.dilations)
        self.rings = [torch.zeros(dilation, self.lanes, config.residual_channels) for dilation in config.dilations]
        self.before = torch.zeros(self.lanes, 1)
        self.position = 0
        scratch = [torch.zeros_like(ring) for ring in self.rings]
        example = (self.before, torch.zeros(self.lanes, 1), scratch, torch.zeros_like(self.dilations))
        self.graph = build(Step(config, weights, condition).eval(), example)

    def step(self, inputs: Tensor) -> Tensor:
        logits = self.graph(self.before, inputs, self.rings, torch.remainder(self.position, self.dilations))
        self.before = inputs
        self.position += 1
        return logits


def traced(step: Step, example: tuple[object, ...]) -> Callable[..., Tensor]:
    """torch.jit.trace, frozen."""
    frozen: Callable[..., Tensor] = torch.jit.freeze(torch.jit.trace(step, example, check_trace=False))
    return frozen


def compiled(step: Step, example: tuple[object, ...]) -> Callable[..., Tensor]:
    """torch.compile of the whole step with its weights frozen."""
    from torch._inductor import config as inductor

    inductor.freezing = True
    graph: Callable[..., Tensor] = torch.compile(step, fullgraph=True, dynamic=False)
    graph(*example)
    return graph


BASELINES: dict[str, Callable[[DecoderConfig, Tensors, Tensor], TorchSampler]] = {
    "PyTorch, naive": NaiveSampler,
    "PyTorch, published queues": PublishedSampler,
    "PyTorch, best eager": EagerSampler,
    "PyTorch, traced and frozen": lambda config, weights, condition: GraphSampler(config, weights, condition, traced),
    "PyTorch, torch.compile": lambda config, weights, condition: GraphSampler(config, weights, condition, compiled),
}
EAGER = "PyTorch, best eager"
NAIVE = "PyTorch, naive"
COMPILED = "PyTorch, torch.compile"
