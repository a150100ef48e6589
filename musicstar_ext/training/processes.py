"""The processes that train together: this one alone, or all that `torchrun` has started.

Every process computes the gradient of its rows of the batch; the mean of these gradients is the gradient of the whole
batch, so all weights, averages and optimizers stay equal, and N processes train as one would. What must not differ is
decided together: the loss that is checked and reported, when to stop, what a validation says. Only the first process
writes and prints.

The mean is one explicit all-reduce of one flat buffer rather than DistributedDataParallel: a method's `loss` is not a
`forward`, and steps that take turns use some weights only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed, nn

from musicstar_ext.errors import UserError


def place() -> tuple[int, int]:
    """Number of this process and how many there are, as torchrun's environment says: (0, 1) without it.

    Raises:
        UserError: the environment is not whole.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    rank = os.environ.get("RANK", "0")
    if not (count.isdigit() and rank.isdigit() and int(rank) < int(count)):
        raise UserError(f"RANK={rank} and WORLD_SIZE={count} in the environment are not those of torchrun")
    return int(rank), int(count)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return place()[0] == 0


class Processes:
    """Those that train together, as one of them sees it.

    Args:
        device: "auto", "cpu" or "cuda"; each process on a machine takes its own GPU.

    Attributes:
        rank, count: number of this process, and how many there are.
        device: where this process computes.

    Raises:
        UserError: there is no such GPU, or the processes do not find each other.
    """

    def __init__(self, device: str) -> None:
        self.rank, self.count = place()
        self.device = _device(device, self.count)
        if self.count > 1 and not distributed.is_initialized():
            with self._together():
                # What is decided together needs no GPU, and must not wait for one.
                distributed.init_process_group("cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(_leave)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """The rows of a batch that this process takes.

        Raises:
            UserError: the batch cannot be shared out evenly.
        """
        if batch % self.count:
            raise UserError(f"batch is {batch}, which {self.count} processes cannot share out evenly")
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, gradients: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Put the mean over all processes into each of the gradients, and return that of the loss."""
        if self.count == 1:
            return loss.detach()
        parts = [*gradients, loss.detach()]
        flat = torch.cat([part.reshape(-1).float() for part in parts])
        self._sum(flat)
        flat /= self.count
        for part, mean in zip(parts[:-1], flat.split([part.numel() for part in parts]), strict=False):
            part.copy_(mean.view_as(part))
        return flat[-1]

    def gather(self, values: dict[int, float], count: int) -> list[float]:
        """All processes' values, by their number, in `count` numbers: each has given its own."""
        if self.count == 1:
            return [values[number] for number in range(count)]
        shared = torch.zeros(count, dtype=torch.float64)
        for number, value in values.items():
            shared[number] = value
        self._sum(shared)  # zeros and one value: exact
        return shared.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process; also where all wait for each other."""
        if self.count == 1:
            return flag
        flags = torch.tensor([float(flag)])
        self._sum(flags)
        return flags.item() > 0

    def agree(self, model: nn.Module, step: int) -> None:
        """Give all processes the first one's weights.

        Raises:
            UserError: they do not start at the same step: they have read different run folders.
        """
        if self.count == 1:
            return
        steps = self.gather({self.rank: float(step)}, self.count)
        if len(set(steps)) > 1:
            found = ", ".join(f"{int(step)}" for step in steps)
            raise UserError(f"the processes would start at steps {found}: all need the same --run folder")
        with self._together(), torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                distributed.broadcast(tensor, 0)

    def _sum(self, tensor: Tensor) -> None:
        with self._together():
            distributed.all_reduce(tensor)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Within, a lost process is an error of one line."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"process {self.rank}: has lost the other processes of this training: {reason}") from None


def _device(name: str, count: int) -> torch.device:
    if name == "cpu" or not torch.cuda.is_available():
        if name == "cuda":
            raise UserError("device=cuda, but torch finds no usable GPU")
        return torch.device("cpu")
    if count == 1:
        return torch.device("cuda")
    number, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= found:
        raise UserError(f"process {number} of this machine has no GPU: there are {found}; start as many processes")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _leave() -> None:
    with contextlib.suppress(Exception):  # at exit: the others may have gone
        distributed.destroy_process_group()
