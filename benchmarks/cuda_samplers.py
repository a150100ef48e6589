"""The baselines of sampling on a GPU: PyTorch eager, PyTorch as a CUDA graph, and nv-wavenet.

    benchmarks/build_nv_wavenet.sh CHECKOUT OUT
    python benchmarks/sampling.py --device cuda --nv-wavenet OUT/nv_wavenet

The PyTorch ones take the weights, the device and the type (fp32 or bf16) of their condition. nv-wavenet (NVIDIA, 2018;
fp16, one persistent launch), built from its own sources outside of this repository, has no first skip and a head of 256
channels: it is given a decoder whose first skip is zero and whose head is filled up with zeros, so that it multiplies
by 256 x 256 numbers there in place of 128 x 256.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_samplers import START, EagerSampler, Step, TorchSampler
from report import check_same
from torch import Tensor

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.errors import UserError

Array = NDArray[np.float32]


def draw(logits: Tensor) -> Tensor:
    """Codes [B, 1] drawn from logits [B, A], as the arg max of p / e with e exponential.

    `torch.multinomial` would wait for the GPU at every sample, and cannot be captured.
    """
    probabilities = torch.softmax(logits.float(), 1)
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(1, keepdim=True)


class CudaEagerSampler(EagerSampler):
    """The best eager step, and the draw, without a word to the host: a call queues all its work, then waits."""

    def sample(self, count: int) -> None:
        inputs = torch.full_like(self.before, START)
        for _ in range(count):
            inputs = (draw(self.step(inputs)) / 255 - 0.5).to(inputs)
        _wait(inputs.device)


class CudaGraphSampler(TorchSampler):
    """The best step and its draw, captured once as a CUDA graph and replayed for every sample.

    Everything that changes from sample to sample is on the GPU: the position, and from it the place in each ring.
    """

    def __init__(self, config: DecoderConfig, weights: Tensors, condition: Tensor) -> None:
        self.lanes = condition.shape[0]
        self.network = Step(config, weights, condition)
        self.dilations = torch.tensor(config.dilations, device=condition.device)
        self.rings = [condition.new_zeros(d, self.lanes, config.residual_channels) for d in config.dilations]
        self.before, self.inputs = condition.new_zeros(self.lanes, 1), condition.new_full((self.lanes, 1), START)
        self.position = torch.zeros(1, dtype=torch.long, device=condition.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def step(self, inputs: Tensor) -> Tensor:
        logits = self.network(self.before, inputs, self.rings, torch.remainder(self.position, self.dilations))
        self.before.copy_(inputs)
        self.position += 1
        return logits

    def advance(self) -> None:
        """One sample in each lane, as the graph does it."""
        self.inputs.copy_(draw(self.step(self.inputs)) / 255 - 0.5)

    def capture(self) -> torch.cuda.CUDAGraph:
        """The graph of `advance`, after three samples on a side stream, as PyTorch asks for."""
        side = torch.cuda.Stream(self.before.device)
        side.wait_stream(torch.cuda.current_stream(self.before.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self.advance()
        torch.cuda.current_stream(self.before.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.advance()
        return graph

    def sample(self, count: int) -> None:
        self.inputs.fill_(START)
        if self.before.device.type != "cuda":
            for _ in range(count):
                self.advance()
            return
        if self.graph is None:
            self.graph = self.capture()
        for _ in range(count):
            self.graph.replay()
        _wait(self.before.device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


EAGER, GRAPH = "PyTorch, best eager", "PyTorch, CUDA graph"
BASELINES = {EAGER: CudaEagerSampler, GRAPH: CudaGraphSampler}


class NvWavenet:
    """nv-wavenet as a process of its own, that `build_nv_wavenet.sh` has built; a call decodes whole runs of samples.

    Args:
        program: what was built.
        condition: [B, C], the same frame for every sample; the head takes the first lane's for all.
        lanes_per_block: 1 to 4, a divisor of the lanes: how many lanes a block computes in step.
        variant: persistent (weights stay in registers) or manyblock.

    Raises:
        UserError: the sizes are not those that it was built for, or it does not start.
    """

    WAIT = 120.0  # seconds for an answer: a launch that hangs is given up

    def __init__(
        self,
        program: Path,
        config: DecoderConfig,
        weights: Tensors,
        condition: Array,
        lanes_per_block: int = 1,
        variant: str = "persistent",
    ) -> None:
        built_for = (128, 128, 256, 2)
        if (config.residual_channels, config.skip_channels, config.classes, config.kernel_size) != built_for:
            raise UserError("nv-wavenet is built for 128 residual and 128 skip channels, 256 classes and kernel size 2")
        self.config, self.weights, self.condition = config, weights, condition
        self.lanes = len(condition)
        # Its indices of a condition for each sample and lane are 32 bits wide; this is a gigabyte of fp32.
        self.samples = max(1, min(8192, 32_768 // self.lanes))
        self.uniforms = np.random.default_rng(5).random((self.samples, self.lanes), dtype=np.float32)
        self._answers: queue.Queue[str] = queue.Queue()
        sizes = (len(config.dilations), max(config.dilations), self.lanes, lanes_per_block, self.samples)
        with tempfile.TemporaryDirectory() as folder:
            inputs = Path(folder) / "inputs"
            arrays = [
                *nv_wavenet_weights(config, weights, condition[:1]),
                projected(config, weights, condition),
                self.uniforms,
            ]
            with inputs.open("wb") as file:
                for array in arrays:
                    file.write(np.ascontiguousarray(array, np.float32).tobytes())
            command = [str(program), str(inputs), *map(str, sizes), variant]
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (it prints a line for every run)
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
                )
            except OSError as error:
                self._errors.close()
                raise UserError(f"{program}: cannot be started: {error.strerror}") from None
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
            try:
                self._expect("ready")
            except BaseException:
                self.close()
                raise

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line.strip())
        self._answers.put("")

    def _ask(self, command: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, which says why
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def _answer(self) -> str:
        try:
            answer = self._answers.get(timeout=self.WAIT)
        except queue.Empty:
            raise UserError(f"nv-wavenet gave no answer in {self.WAIT:g} s") from None
        if not answer:
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            raise UserError(f"nv-wavenet ended: {lines[-1] if lines else 'no word why'}")
        return answer

    def _expect(self, wanted: str) -> None:
        answer = self._answer()
        if answer != wanted:
            raise UserError(f"nv-wavenet: {answer!r} in place of {wanted!r}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def sample(self, runs: int) -> None:
        """Decode `self.samples` samples in each lane, from the start, so many times."""
        for _ in range(runs):
            self._ask("run")
            self._expect("done")

    def codes(self) -> NDArray[np.uint8]:
        """[B, samples], drawn with `uniforms` [samples, B]."""
        self._ask("codes")
        return np.array(self._answer().split(), np.uint8).reshape(self.lanes, self.samples)

    def check(self, samples: int = 1200, tolerance: float = 0.02) -> None:
        """The first codes of the first lane are those that the uniforms draw from the equations' logits.

        The equations get the codes that nv-wavenet drew. Its sums are fp16, so a uniform may lie `tolerance` beside
        the code's part of 0 to 1.

        Raises:
            UserError: one does not.
        """
        codes = self.codes()[0, :samples]
        expected = logits_of_nv_wavenet(self.config, self.weights, self.condition[:1], codes)
        distance = distance_of_draws(expected, codes, self.uniforms[: len(codes), 0])
        check_same("nv-wavenet", float(distance.max()), tolerance)


def logits_of_nv_wavenet(config: DecoderConfig, weights: Tensors, condition: Array, codes: NDArray[np.uint8]) -> Array:
    """Logits [T, A] of codes [T] by the equations as nv-wavenet has them: no first skip, and code 128 twice before."""
    without = {name: np.zeros_like(a) if name.startswith("first_skip.") else a for name, a in weights.items()}
    sampler = EagerSampler(config, without, torch.from_numpy(condition))
    sampler.before.fill_(START)
    inputs = np.concatenate([[START], codes[:-1] / 255 - 0.5]).astype(np.float32)
    return torch.cat([sampler.step(value.reshape(1, 1)) for value in torch.from_numpy(inputs)]).numpy()


def distance_of_draws(logits: Array, codes: NDArray[np.uint8], uniforms: Array) -> NDArray[np.float64]:
    """How far each uniform [T] lies outside of its code's part of 0 to 1, by the logits [T, A]; inside it is 0."""
    x = logits.astype(np.float64)
    probabilities = np.exp(x - x.max(1, keepdims=True))
    upper = np.cumsum(probabilities / probabilities.sum(1, keepdims=True), axis=1)
    rows = np.arange(len(codes))
    above = upper[rows, codes]
    below = np.where(codes > 0, upper[rows, np.maximum(codes, 1) - 1], 0.0)
    return np.maximum(0, np.maximum(below - uniforms, uniforms - above))


def nv_wavenet_weights(config: DecoderConfig, weights: Tensors, condition: Array) -> list[Array]:
    """Our weights as nv_wavenet_driver.cu reads them: matrices column-major, the filter before the gate.

    condition [1, C]: what it adds to the head is in the head's bias.
    """
    classes, skip = config.classes, config.skip_channels

    def columns(name: str, tap: int = 0) -> Array:
        return weights[f"{name}.weight"][:, :, tap].T

    inputs = (np.arange(classes, dtype=np.float32) / 255 - 0.5)[:, None]
    past, current = columns("first", 0), columns("first", 1)  # [1, R]
    arrays = [inputs * past, inputs * current + weights["first.bias"]]
    for i in range(len(config.dilations)):
        layer = f"layers.{i}"
        arrays += [filter_first(columns(f"{layer}.dilated", tap)) for tap in range(2)]
        arrays.append(filter_first(weights[f"{layer}.dilated.bias"]))
        for part in ("residual", "skip"):
            arrays += [columns(f"{layer}.{part}"), weights[f"{layer}.{part}.bias"]]
    head, head_bias = np.zeros((skip, classes), np.float32), np.zeros(classes, np.float32)
    head[:, :skip] = columns("head")
    head_bias[:skip] = (
        weights["head.bias"] + weights["head_condition.bias"] + (condition @ columns("head_condition"))[0]
    )
    logits = np.zeros((classes, classes), np.float32)
    logits[:skip] = columns("logits")
    return [*arrays, head, head_bias, logits, weights["logits.bias"]]


def projected(config: DecoderConfig, weights: Tensors, condition: Array) -> Array:
    """[L, B, 2R]: the condition [B, C] as each layer adds it, the filter before the gate."""
    layers = [f"layers.{i}.condition" for i in range(len(config.dilations))]
    rows = [condition @ weights[f"{name}.weight"][:, :, 0].T + weights[f"{name}.bias"] for name in layers]
    return filter_first(np.stack(rows))


def filter_first(array: Array) -> Array:
    """The halves of the last axis exchanged: ours have the gate first, nv-wavenet's the filter."""
    return np.roll(array, array.shape[-1] // 2, axis=-1)
