"""Make one prepared set of several: `python recipes/join_sets.py OUT SET SET ...`. Pieces are linked, not copied.

A score may be in several of the sets (played otherwise in each), but in one split only: what a model is tested on must
not be among what it was taught. Sets that `data render` makes with one seed and the same shares agree on that.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from musicstar_ext.data.prepared import FULL_RATE, read_description
from musicstar_ext.data.prepared_writer import write_description
from musicstar_ext.errors import UserError, run_command


def join(out: Path, sets: list[Path]) -> None:
    """Link the pieces of `sets` into `out` under the names `<set>-<piece>`, and write its description.

    Raises:
        UserError: the sets differ in domains, rate or channels, or a score is in two splits; or `out` is there already.
    """
    descriptions = [read_description(folder) for folder in sets]
    first = descriptions[0]
    pieces = {}
    splits: dict[str, tuple[str, Path]] = {}  # score -> the split that it is in, and a set that says so
    for folder, description in zip(sets, descriptions, strict=True):
        for key in ("domains", "sample_rate", "channels"):
            if description[key] != first[key]:
                raise UserError(f"{folder}: its {key} differ from those of {sets[0]}")
        for name, piece in description["pieces"].items():
            split, where = splits.setdefault(piece.get("score", name), (piece["split"], folder))
            if split != piece["split"]:
                raise UserError(f"{folder}: {name} is for {piece['split']}, in {where} its score is for {split}")
            pieces[f"{folder.name}-{name}"] = (folder / name, piece)
    if out.exists():
        raise UserError(f"{out}: is there already")
    out.mkdir(parents=True)
    for name, (source, _) in pieces.items():
        (out / name).mkdir()
        for file in source.iterdir():
            os.link(file, out / name / file.name)
    made_by = {"joined": [{"set": folder.name, **d["made_by"]} for folder, d in zip(sets, descriptions, strict=True)]}
    entries = {name: piece for name, (_, piece) in pieces.items()}
    write_description(out, first["sample_rate"], first["domains"], entries, made_by, first["channels"])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make one prepared set of several, by links.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET")
    arguments = parser.parse_args(argv)
    sets = [folder.resolve() for folder in arguments.sets]
    if len({folder.name for folder in sets}) < len(sets):
        raise UserError("two of the sets have one name")
    if any((folder / FULL_RATE).exists() for folder in sets):
        print("the full-rate copies are left out", file=sys.stderr)
    join(arguments.out, sets)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, "join_sets"))
