"""What a training tells: a line on the terminal, a row in `log.csv`, and TensorBoard curves where that is installed."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import UserError


@dataclass
class Report:
    """One reported step. Losses are in the method's unit, nan where there is none; `seconds_left` is an estimate."""

    step: int
    epoch: float
    minutes: float
    loss: float
    validation: float
    learning_rate: float
    samples_per_second: float
    seconds_left: float

    def line(self, last_step: int, unit: str) -> str:
        losses = {"loss": self.loss, "validation": self.validation}
        told = "  ".join(f"{name} {loss:.4f}" for name, loss in losses.items() if not math.isnan(loss))
        return (
            f"step {self.step}/{last_step}  epoch {self.epoch:.2f}  {told} {unit}  lr {self.learning_rate:.2e}"
            f"  {self.samples_per_second / 1000:.1f} k samples/s  {duration(self.seconds_left)} left"
        )


COLUMNS = tuple(field.name for field in fields(Report))


class TrainingLog:
    """Writes reports to the three places. After a resume the rows past `step` are dropped: they will come again.

    Raises:
        UserError, from every method: the run's folder cannot be written.
    """

    def __init__(self, path: Path, step: int, last_step: int, unit: str = "nats") -> None:
        self._path, self._last_step, self._unit = path, last_step, unit
        self._board: Any = None
        with self._writing():
            write_atomically(path, _rows_until(path, step).encode())
            self._file = path.open("a", newline="")
            self._rows = csv.writer(self._file)
            if importlib.util.find_spec("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(path.parent / "tensorboard", purge_step=step + 1)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.nullcontext() if error is None else contextlib.suppress(UserError):
            self.close()  # what ended the training says more than that the log cannot be closed

    def write(self, report: Report) -> None:
        print(report.line(self._last_step, self._unit), flush=True)
        with self._writing():
            self._rows.writerow(
                [f"{value:.6g}" if isinstance(value, float) else value for value in asdict(report).values()]
            )
            self._file.flush()
            if self._board:
                for name in ("loss", "validation", "learning_rate", "samples_per_second"):
                    if not math.isnan(getattr(report, name)):
                        self._board.add_scalar(name, getattr(report, name), report.step)

    def close(self) -> None:
        with self._writing():
            try:
                self._file.close()
            finally:
                if self._board:
                    self._board.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror or error}") from None


def duration(seconds: float) -> str:
    """A length of time for people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _rows_until(path: Path, step: int) -> str:
    """The log's header and its whole rows up to a step."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS) and row[0].isdigit()]
        writer.writerows(row for row in rows if int(row[0]) <= step)
    return text.getvalue()
