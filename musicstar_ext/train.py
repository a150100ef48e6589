"""`python -m musicstar_ext.train METHOD --data DIR --run DIR [--set KEY=VALUE ...] [--resume]`: train a method."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import CommandParser, MissingExtraError, UserError, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return run_command(lambda: _run(arguments), "train")


def _run(arguments: Sequence[str] | None) -> int:
    parser = CommandParser(
        prog="python -m musicstar_ext.train",
        description="Train a method on a prepared set, with the paper's recipe unless --set says otherwise, and before "
        "it the methods that it builds on. RUN/best.safetensors is what `python -m musicstar_ext.translate --model` "
        "reads.",
        epilog="Ctrl-C and SIGTERM save the run before it ends.",
    )
    parser.add_argument("method", metavar="METHOD", help="a method of the paper's Table 1, e.g. mixture-supervised")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a set made by musicstar_ext.data")
    parser.add_argument(
        "--run", type=Path, required=True, metavar="DIR", help="where checkpoints and the log are written"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. batch=4, encoder.channels=64, or universal.batch=4 of a method trained before; "
        "an unknown KEY lists all of them",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run, with its settings")
    options = parser.parse_args(arguments)
    settings = [setting for group in options.settings for setting in group]
    return train(options.method, options.data, options.run, settings, options.resume)


def train(method: str, data: Path, run: Path, settings: Sequence[str] = (), resume: bool = False) -> int:
    """Start or resume a run, with the stages that it needs (`training.stages`).

    `max_minutes` ends the whole start of the command; a stage's own ends that stage, and the next one begins.

    Returns:
        The exit status: 0, or 130 when Ctrl-C ended it (the run is saved).

    Raises:
        MissingExtraError: torch is not installed.
        UserError: unknown method or setting, no usable data, a run that is there already or cannot be resumed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train")
    from .data.prepared import PreparedSet
    from .methods import METHODS
    from .training.loop import Training, describe_data
    from .training.processes import is_first
    from .training.stages import plan, refuse_existing, rehearse, until

    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    prepared = PreparedSet.open(data)
    asked = plan(method, run, prepared, describe_data(prepared), settings, resume)
    stages = asked.in_order()
    if not resume:
        refuse_existing(stages)
    if len(stages) > 1 and is_first():
        rehearse(stages, prepared)

    end = time.monotonic() + 60 * (asked.config.max_minutes or float("inf"))
    for number, stage in enumerate(stages, 1):
        if len(stages) > 1 and is_first():
            note = ", finished before" if stage.finished else ""
            print(f"stage {number} of {len(stages)}: {stage.method.name} in {stage.folder.path}{note}", flush=True)
        if stage.finished:
            continue
        recipe = stage.config if len(stages) == 1 else until(stage, end)
        training = Training(stage.method, recipe, prepared, stage.folder)
        state = stage.folder.latest_state() if resume else None
        if state:
            training.load_state(state)
        else:
            training.start()
        asked.begin()
        stage.begin()
        interrupted = training.run()
        over = training.processes.any(time.monotonic() >= end)
        if training.step >= training.last_step or not (training.signalled or over):
            stage.finish()
        if interrupted:
            return 130
        if training.signalled or over:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
