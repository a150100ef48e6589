"""Processes that share out pieces of work, end with this one however it ends, and leave no half piece behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError

from .prepared_writer import remove_unfinished


@contextmanager
def working(jobs: int, folders: Sequence[Path] = ()) -> Iterator[Executor]:
    """Workers; one job is done in this process. Interrupted, they are ended and half pieces in `folders` removed.

    Raises:
        UserError: a process died (of too little memory, mostly).
    """
    workers: Executor
    if jobs == 1:
        workers = _Here()
    else:
        context = multiprocessing.get_context("spawn")
        workers = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    try:
        yield workers
        workers.shutdown()
    except BaseException as error:
        workers.shutdown(wait=False, cancel_futures=True)
        if jobs > 1:
            for process in multiprocessing.active_children():
                process.terminate()
            for process in multiprocessing.active_children():
                process.join()
        for folder in folders:
            remove_unfinished(folder)
        if isinstance(error, BrokenProcessPool):
            raise UserError("a worker process died; was memory short? Try fewer --jobs") from None
        raise


class _Here(Executor):
    """Does the work when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        """One after the other as they are asked for, where `Executor.map` would do all first."""
        return map(fn, *iterables)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def end_with_parent() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
