"""`evaluate separation CHECKPOINT --data SET`: how well a separator takes held-out mixtures apart."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from musicstar_ext.errors import MissingExtraError, UserError

NOTE = "median, mean in dB"


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "separation",
        help="measure a separator on held-out mixtures",
        description="SDR and SI-SDR of every stem, median and mean over the pieces of a split, beside those of the "
        "mixture itself. The set's full-rate copy is taken where the separator was trained on that.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of the method demucs or separation-based")
    parser.add_argument("--data", type=Path, required=True, metavar="SET", help="a set made by musicstar_ext.data")
    parser.add_argument("--split", default="test", help="train, validation or test (the default)")
    parser.add_argument(
        "--own-mixtures", action="store_true", help="separate the set's mixtures, not the sums of their stems"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the network runs")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of a CPU; 0 leaves it to torch")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every piece")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.threads < 0:
        raise UserError(f"--threads must be at least 0, not {options.threads}")
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "separation")
    from tqdm import tqdm

    from musicstar_ext.checkpoints import load
    from musicstar_ext.data.prepared import PreparedSet
    from musicstar_ext.separation import load_separator

    from .separation import evaluate_separation, matching_set, total_samples

    checkpoint = load(options.checkpoint)
    try:
        separator = load_separator(checkpoint, options.device, options.threads)
    except MissingExtraError:
        raise
    except UserError as error:
        raise UserError(f"{options.checkpoint}: {error}") from None
    prepared = matching_set(PreparedSet.open(options.data), separator.sample_rate)
    seconds = total_samples(prepared, options.split) / separator.sample_rate
    with tqdm(desc="separating", total=round(seconds, 1), unit="s", disable=True if options.json else None) as bar:
        report = evaluate_separation(
            separator,
            prepared,
            options.split,
            options.own_mixtures,
            lambda samples: bar.update(samples / separator.sample_rate),
        )
    summary = report.summary()
    if options.json:
        about = {"checkpoint": str(options.checkpoint), "split": options.split, "own_mixtures": options.own_mixtures}
        print(json.dumps(_finite({**about, "stems": summary, "pieces": report.pieces}), indent=2))
    else:
        _print(summary, len(report.pieces), options.split)
    return 0


def _print(summary: dict[str, dict[str, Any]], pieces: int, split: str) -> None:
    columns = {"sdr": "SDR", "mixture_sdr": "of the mixture", "si_sdr": "SI-SDR", "mixture_si_sdr": "of the mixture"}
    what = f"{pieces} {'piece' if pieces == 1 else 'pieces'} ({split})"
    width = max(len(what), len(NOTE), *(len(stem) for stem in summary))
    print(f"{what:{width}}" + "".join(f"  {title:>16}" for title in columns.values()))
    print(NOTE)
    for stem, values in summary.items():
        cells = [f"{values[key]['median']:.2f}, {values[key]['mean']:.2f}" for key in columns]
        print(f"{stem:{width}}" + "".join(f"  {cell:>16}" for cell in cells))


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no nan: null in their place."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
