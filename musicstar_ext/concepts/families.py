"""Families of the General MIDI instruments: the known tree above them.

General MIDI's own groups of eight, but for what they tear apart or throw together: all strings are one family, timpani
stand with the mallets, and the last group is shared out by how its instruments are played. Sound effects have none.
"""

from __future__ import annotations

from collections.abc import Iterable

from musicstar_ext.data.instruments import PROGRAM_NAMES

FAMILIES: dict[str, tuple[int, ...]] = {
    "keyboard": tuple(range(8)),
    "mallets": (*range(8, 15), 47, 108, 114),
    "organ": tuple(range(16, 24)),
    "guitar": (*range(24, 31), 31),
    "bass": tuple(range(32, 40)),
    "strings": (*range(40, 46), *range(48, 52), 110),
    "plucked": (46, 15, 104, 105, 106, 107),
    "voice": (52, 53, 54),
    "brass": tuple(range(56, 64)),
    "reed": (*range(64, 72), 109, 111),
    "pipe": tuple(range(72, 80)),
    "synth-lead": tuple(range(80, 88)),
    "synth-pad": tuple(range(88, 96)),
}


def family_of(program: int) -> str:
    """The family of a General MIDI program (from 0); KeyError for one that has none."""
    return _FAMILY_OF[program]


def spread_over_families(programs: Iterable[int], count: int) -> list[int]:
    """At most `count` of the programs, taken from the families in turn."""
    there = set(programs)
    queues = [[program for program in members if program in there] for members in FAMILIES.values()]
    taken = [queue[place] for place in range(max(map(len, queues))) for queue in queues if place < len(queue)]
    return taken[:count]


def name_of(program: int) -> str:
    """The program's name, as elsewhere in this package."""
    return PROGRAM_NAMES[program]


_FAMILY_OF = {program: family for family, members in FAMILIES.items() for program in members}
