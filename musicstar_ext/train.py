"""`python -m musicstar_ext.train METHOD --data DIR --run DIR [--set KEY=VALUE ...] [--resume]`: train a method."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import MissingExtraError, UserError, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m musicstar_ext.train",
        description="Train a method on a prepared set, with the paper's recipe unless --set says otherwise. "
        "RUN/best.safetensors is what `python -m musicstar_ext.translate --model` reads.",
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
        help="change a setting, e.g. batch=4 or encoder.channels=64; an unknown KEY lists all of them",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run, with its settings")
    options = parser.parse_args(arguments)
    settings = [setting for group in options.settings for setting in group]
    return run_command(lambda: train(options.method, options.data, options.run, settings, options.resume), "train")


def train(method: str, data: Path, run: Path, settings: Sequence[str] = (), resume: bool = False) -> int:
    """Start or resume a run; returns the exit status: 0, or 130 when Ctrl-C ended it (the run is saved).

    Raises:
        MissingExtraError: torch is not installed.
        UserError: unknown method or setting, no usable data, a run that is there already or cannot be resumed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train")
    from .data.prepared import PreparedSet
    from .methods import METHODS
    from .training.loop import Training, describe_data
    from .training.options import to_flat, with_settings
    from .training.run_folder import RunFolder, refuse_changes

    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    folder = RunFolder(run)
    saved = folder.description() if resume else None
    config = with_settings(METHODS[method].config_type, saved["config"] if saved else {}, settings)
    prepared = PreparedSet.open(data)
    description = {"method": method, "data": describe_data(prepared), "config": to_flat(config)}
    if saved:
        refuse_changes(saved, description)

    training = Training(METHODS[method], config, prepared, folder)
    state = folder.latest_state() if saved else None
    if state:
        training.load_state(state)
    else:
        training.start()
    if saved:
        folder.write_description(description)
    else:
        folder.create(description)
    return 130 if training.run() else 0


if __name__ == "__main__":
    sys.exit(main())
