"""python -m musicstar_ext.translate: re-instrument recordings from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CommandParser, UserError, report_error, run_command
from .guidance import guidance_argument
from .shaping import shaping_argument

if TYPE_CHECKING:
    from .checkpoints import Branch
    from .runtime import Translator
    from .runtime.files import FileReport
    from .runtime.jobs import Job

NAME = "musicstar_ext.translate"
OUTPUT_HELP = (
    "for one input file, or with --stems: a file (.wav, .flac or .ogg); for several, a folder or a pattern: "
    "a folder, with one .wav for each input, under its name"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 bad input or arguments, 130 Ctrl-C."""
    return run_command(lambda: _run(arguments), NAME)


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=f"python -m {NAME}",
        description="Play a recording of two instruments on two others.",
        epilog="Equal inputs, model, seed, lanes and precision give equal outputs on equal devices; --device auto "
        "takes a GPU where there is one; --lanes auto depends on the device and the number of threads, --precision "
        "auto on the device and the instruction set.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="an audio file, a folder, or a quoted pattern such as 'takes/*.wav'")
    add("--stems", metavar="A,B", help="what the IN files are, in their order: stems of one recording")
    add("-o", "--output", required=True, metavar="OUT|DIR", help=OUTPUT_HELP)
    add("--model", default=models.DEFAULT, metavar="NAME|PATH", help="shipped, or a .safetensors file (%(default)s)")
    add("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where it runs (%(default)s)")
    add(
        "--precision",
        default="auto",
        metavar="auto|fp32|bf16|int8",
        help="of the products; int8: CPU only (%(default)s)",
    )
    add("--temperature", type=float, default=1.0, metavar="T", help="0 always takes the likeliest code (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="another seed, another performance (%(default)s)")
    add("--lanes", type=_lanes, default="auto", metavar="auto|N", help="segments decoded side by side; 1 is exact")
    add("--threads", type=int, default=0, metavar="N", help="0 takes all processors that it may use (%(default)s)")
    add(
        "--guidance",
        type=guidance_argument,
        default="auto",
        metavar="auto|G",
        help="1 is plain, more follows the code closer",
    )
    add(
        "--shaping",
        type=shaping_argument,
        default="auto",
        metavar="auto|S",
        help="0 to 1: how far to bring the output to the spectrum that the code tells",
    )
    add("--normalize", choices=("auto", "off"), default="auto", help="auto keeps the input's loudness (%(default)s)")
    add("--plot", type=Path, metavar="PNG", help="draw both spectrograms (one input only; needs matplotlib)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    from .runtime import load
    from .runtime.jobs import plan_jobs, plan_stems
    from .runtime.options import check_options

    check_options(
        options.seed, options.temperature, options.lanes, options.normalize, options.guidance, options.shaping
    )
    if options.stems is None:
        jobs = plan_jobs(options.inputs, options.output)
    else:
        jobs = [plan_stems(options.inputs, options.stems.split(","), options.output)]
    if options.plot is not None:
        _check_plot(options.plot, jobs)
    translator = load(options.model, options.device, options.precision, options.threads)
    try:
        if options.stems is None:
            translator.networks.check_hears_mixture()
        else:
            translator.networks.check_stems(jobs[0].stems)
        guidance = translator.chosen_guidance(options.guidance)
        shaping = translator.chosen_shaping(options.shaping)
    except UserError as error:
        raise UserError(f"{options.model}: {error}") from None
    branches = translator.networks.branches_of(jobs[0].stems) if options.stems else translator.branches
    reports, failures = [], []
    for job in jobs:
        try:
            report = _translate(translator, job, options)
        except UserError as error:
            failures.append(str(error))
            report_error(error, NAME)
            continue
        reports.append(report)
        if not options.json:
            print(_line(report), flush=True)
    if options.json and reports:
        print(json.dumps(_summary(translator, branches, guidance, shaping, reports, failures), indent=2))
    return 2 if failures else 0


def _translate(translator: Translator, job: Job, options: argparse.Namespace) -> FileReport:
    from tqdm import tqdm

    from .runtime.files import translate_file

    seconds = max(file.frames / file.rate for file in job.files)
    with tqdm(
        total=seconds,
        desc=" + ".join(file.path.name for file in job.files),
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}{postfix}]",
        leave=False,
        disable=True if options.json else None,  # None: silent unless stderr is a terminal
    ) as bar:

        def advance(done: float) -> None:
            bar.update(min(done, seconds - bar.n))
            elapsed = bar.format_dict["elapsed"]
            if elapsed:
                bar.set_postfix_str(f"{bar.n / elapsed:.2f} x real time", refresh=False)

        report = translate_file(
            translator,
            job.source,
            job.target,
            seed=options.seed,
            temperature=options.temperature,
            lanes=options.lanes,
            normalize=options.normalize,
            guidance=options.guidance,
            shaping=options.shaping,
            progress=None if bar.disable else advance,
        )
    if options.plot is not None:
        from .runtime.audio_reading import AudioFile
        from .runtime.spectrogram_plot import plot_spectrograms

        domains = translator.checkpoint.domains
        heard = {domains["source"]: job.source} if isinstance(job.source, AudioFile) else job.source
        pictured = {f"{file.path.name} ({track})": file.path for track, file in heard.items()}
        plot_spectrograms({**pictured, f"{job.target.name} ({domains['target']})": job.target}, options.plot)
    return report


def _check_plot(picture: Path, jobs: list[Job]) -> None:
    from .runtime.audio_writing import check_writable
    from .runtime.spectrogram_plot import check_plot

    if len(jobs) > 1:
        raise UserError(f"--plot draws one recording, and there are {len(jobs)}")
    check_plot(picture)
    if picture.resolve() in (jobs[0].target.resolve(), *(file.path.resolve() for file in jobs[0].files)):
        raise UserError(f"{picture}: the picture is also the input or the output")
    check_writable(picture)


def _line(report: FileReport) -> str:
    line = (
        f"{report.output}: {report.seconds:.2f} s in {report.wall_seconds:.2f} s, "
        f"{report.real_time_factor:.2f} x real time, lanes {report.lanes}"
    )
    if report.guidance != 1:
        line += f", guidance {report.guidance:g}"
    if report.shaping:
        line += f", shaping {report.shaping:g}"
    line += "".join(
        f", {stem} ends {seconds:.2f} s early" for stem, seconds in report.padded_seconds.items() if seconds
    )
    return line.encode(errors="replace").decode()  # a name need not be valid text


def _summary(
    translator: Translator,
    branches: Sequence[Branch],
    guidance: float,
    shaping: float,
    reports: list[FileReport],
    failures: list[str],
) -> dict[str, Any]:
    engine = translator.engine
    seconds = sum(report.seconds for report in reports)
    wall = sum(report.wall_seconds for report in reports)
    samples = sum(report.samples for report in reports)
    return {
        "audio_seconds": seconds,
        "wall_seconds": wall,
        "real_time_factor": seconds / wall if wall else 0.0,
        "samples_per_second": samples / wall if wall else 0.0,
        "device": engine.device,
        "device_name": engine.device_name,
        "instruction_set": engine.isa,
        "precision": engine.precision,
        "kernels": engine.kernels,
        "lanes": max((report.lanes for report in reports), default=0),
        "threads": engine.threads,
        "guidance": guidance,
        "shaping": shaping,
        "model": translator.name,
        "branches": [{"source": branch.source, "target": branch.target} for branch in branches],
        "files": [{**dataclasses.asdict(report), "real_time_factor": report.real_time_factor} for report in reports],
        "failures": failures,
    }


def _lanes(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be auto or a whole number, not {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
