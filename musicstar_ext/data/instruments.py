"""Instruments of a rendered set: General MIDI programs, what they can play, and which of them stand in for each other.

A domain is written `NAME=STEM[:PROGRAM],...`: a General MIDI program by its number, from 0, or by its name. The ranges
are what the instruments sound (not what is written for them), from their lowest note to about the highest that is asked
of them, as books on orchestration give it; sections have the range of their members together, and what exists only as
a synthesizer the middle of the keyboard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from musicstar_ext.errors import UserError

from .prepared import FILE_NAME

OCTAVE = 12
LOWEST, HIGHEST = 0, 127  # MIDI pitches

# Name, lowest and highest sounding MIDI pitch of each General MIDI program; None: it has no pitch.
_TABLE: tuple[tuple[str, tuple[int, int] | None], ...] = (
    ("acoustic-grand-piano", (21, 108)),
    ("bright-acoustic-piano", (21, 108)),
    ("electric-grand-piano", (21, 108)),
    ("honky-tonk-piano", (21, 108)),
    ("electric-piano-1", (28, 103)),
    ("electric-piano-2", (28, 103)),
    ("harpsichord", (29, 89)),
    ("clavinet", (29, 88)),
    ("celesta", (60, 108)),
    ("glockenspiel", (79, 108)),
    ("music-box", (60, 96)),
    ("vibraphone", (53, 89)),
    ("marimba", (45, 96)),
    ("xylophone", (65, 108)),
    ("tubular-bells", (60, 77)),
    ("dulcimer", (55, 86)),
    ("drawbar-organ", (36, 96)),
    ("percussive-organ", (36, 96)),
    ("rock-organ", (36, 96)),
    ("church-organ", (24, 108)),
    ("reed-organ", (36, 96)),
    ("accordion", (53, 93)),
    ("harmonica", (60, 96)),
    ("tango-accordion", (53, 93)),
    ("nylon-guitar", (40, 83)),
    ("steel-guitar", (40, 84)),
    ("jazz-guitar", (40, 84)),
    ("clean-guitar", (40, 86)),
    ("muted-guitar", (40, 86)),
    ("overdriven-guitar", (40, 86)),
    ("distortion-guitar", (40, 86)),
    ("guitar-harmonics", (52, 96)),
    ("acoustic-bass", (28, 60)),
    ("fingered-bass", (28, 62)),
    ("picked-bass", (28, 62)),
    ("fretless-bass", (28, 62)),
    ("slap-bass-1", (28, 62)),
    ("slap-bass-2", (28, 62)),
    ("synth-bass-1", (28, 60)),
    ("synth-bass-2", (28, 60)),
    ("violin", (55, 103)),
    ("viola", (48, 91)),
    ("cello", (36, 81)),
    ("contrabass", (28, 67)),
    ("tremolo-strings", (28, 100)),
    ("pizzicato-strings", (28, 100)),
    ("harp", (24, 103)),
    ("timpani", (38, 57)),
    ("string-ensemble-1", (28, 100)),
    ("string-ensemble-2", (28, 100)),
    ("synth-strings-1", (28, 100)),
    ("synth-strings-2", (28, 100)),
    ("choir-aahs", (40, 81)),
    ("voice-oohs", (40, 81)),
    ("synth-voice", (40, 84)),
    ("orchestra-hit", (48, 84)),
    ("trumpet", (54, 86)),
    ("trombone", (40, 77)),
    ("tuba", (26, 65)),
    ("muted-trumpet", (54, 86)),
    ("french-horn", (35, 77)),
    ("brass-section", (34, 86)),
    ("synth-brass-1", (34, 86)),
    ("synth-brass-2", (34, 86)),
    ("soprano-sax", (56, 87)),
    ("alto-sax", (49, 81)),
    ("tenor-sax", (44, 76)),
    ("baritone-sax", (36, 69)),
    ("oboe", (58, 91)),
    ("english-horn", (52, 81)),
    ("bassoon", (34, 75)),
    ("clarinet", (50, 94)),
    ("piccolo", (74, 108)),
    ("flute", (60, 96)),
    ("recorder", (65, 98)),
    ("pan-flute", (60, 96)),
    ("blown-bottle", (60, 96)),
    ("shakuhachi", (55, 86)),
    ("whistle", (60, 96)),
    ("ocarina", (60, 84)),
    *((f"lead-{i}", (36, 96)) for i in range(1, 9)),
    *((f"pad-{i}", (36, 96)) for i in range(1, 9)),
    *((f"effect-{i}", (36, 96)) for i in range(1, 9)),
    ("sitar", (48, 77)),
    ("banjo", (48, 86)),
    ("shamisen", (50, 79)),
    ("koto", (48, 84)),
    ("kalimba", (53, 86)),
    ("bagpipe", (55, 79)),
    ("fiddle", (55, 96)),
    ("shanai", (53, 81)),
    ("tinkle-bell", None),
    ("agogo", None),
    ("steel-drums", (52, 84)),
    ("woodblock", None),
    ("taiko-drum", None),
    ("melodic-tom", None),
    ("synth-drum", None),
    ("reverse-cymbal", None),
    ("guitar-fret-noise", None),
    ("breath-noise", None),
    ("seashore", None),
    ("bird-tweet", None),
    ("telephone-ring", None),
    ("helicopter", None),
    ("applause", None),
    ("gunshot", None),
)
PROGRAM_NAMES = tuple(name for name, _ in _TABLE)

_ALIASES = {
    "piano": 0,
    "electric-piano": 4,
    "organ": 19,
    "guitar": 24,
    "bass": 32,
    "pizzicato": 45,
    "orchestral-harp": 46,
    "strings": 48,
    "choir": 52,
    "horn": 60,
    "brass": 61,
    "saxophone": 65,
}

# Programs that a listener takes for the same instrument, or for a relative that plays the same music. Solo and
# synthetic strings count: a real section lies somewhere among them. Slow strings do not (a tenth of their level comes
# 100 ms after the note begins), nor do tremolo and pizzicato, which are other notes.
_EQUIVALENTS: tuple[tuple[int, ...], ...] = (
    (0, 1, 2),
    (4, 5),
    (16, 17, 18),
    (24, 25),
    (32, 33, 34),
    (40, 110),
    (48, 50, 51, 40, 41, 42),
    (52, 53),
    (56, 59),
    (61, 62),
)


@dataclass(frozen=True)
class Instrument:
    """One stem of a domain: its name, its General MIDI program from 0, the MIDI pitches that it can sound."""

    stem: str
    program: int
    lowest: int
    highest: int


Domains = Mapping[str, tuple[Instrument, ...]]


def instrument(stem: str, program: int) -> Instrument:
    """A stem that a General MIDI program plays.

    Raises:
        UserError: there is no such program, or it has no pitch.
    """
    if not 0 <= program < len(_TABLE):
        raise UserError(f"{stem}: General MIDI programs are numbered 0 to {len(_TABLE) - 1}, not {program}")
    name, pitches = _TABLE[program]
    if pitches is None:
        raise UserError(f"{stem}: General MIDI program {program} ({name}) has no pitch")
    return Instrument(stem, program, *pitches)


DEFAULT_DOMAINS: Domains = {
    "strings-piano": (instrument("strings", 48), instrument("piano", 0)),
    "clarinet-vibraphone": (instrument("clarinet", 71), instrument("vibraphone", 11)),
}


def equivalents(program: int) -> tuple[int, ...]:
    """The programs that may be played in place of one, itself first."""
    return next((group for group in _EQUIVALENTS if group[0] == program), (program,))


def can_play(program: int, lowest: int, highest: int) -> bool:
    """Whether all of lowest..highest is within the range of a program."""
    pitches = _TABLE[program][1]
    return pitches is not None and pitches[0] <= lowest and highest <= pitches[1]


def parse_domain(text: str) -> tuple[str, tuple[Instrument, ...]]:
    """`NAME=STEM[:PROGRAM],...`; without a program, a stem is played by the one of its name.

    Raises:
        UserError: it is not written so, or names a program that there is not.
    """
    name, equals, listed = text.partition("=")
    if not (name and equals and listed):
        raise UserError(f"--domain {text}: must be NAME=STEM:PROGRAM,..., such as strings-piano=strings:48,piano:0")
    members = []
    for member in listed.split(","):
        stem, colon, program = member.partition(":")
        if not stem or (colon and not program):
            raise UserError(f"--domain {text}: {member!r} is not STEM:PROGRAM")
        members.append(instrument(stem, _program(program or stem)))
    return name, tuple(members)


def parse_range(text: str) -> tuple[str, int, int]:
    """`STEM=LOWEST-HIGHEST`, pitches as MIDI numbers or as names such as F#3 (middle C is C4, 60).

    Raises:
        UserError: it is not written so.
    """
    stem, _, pitches = text.partition("=")
    found = re.fullmatch(r"([A-Ga-g][#b]?-?\d|\d{1,3})-([A-Ga-g][#b]?-?\d|\d{1,3})", pitches)
    lowest, highest = (_pitch(found[1]), _pitch(found[2])) if found else (-1, -1)
    if not stem or not LOWEST <= lowest < highest <= HIGHEST:
        raise UserError(f"--range {text}: must be STEM=LOWEST-HIGHEST, such as flute=60-96 or flute=C4-C7")
    return stem, lowest, highest


def make_domains(
    domains: Sequence[tuple[str, tuple[Instrument, ...]]], ranges: Sequence[tuple[str, int, int]] = ()
) -> Domains:
    """The domains of a set, checked; `ranges` replace those of the table.

    Raises:
        UserError: a name is used twice or cannot name a file, the domains differ in their number of stems, a range is
            for no stem of theirs, or stems at the same position have less than an octave in common.
    """
    by_name = dict(domains)
    stems = [player.stem for players in by_name.values() for player in players]
    names = [*(name for name, _ in domains), *(player.stem for _, players in domains for player in players)]
    for name in names:
        if not FILE_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a domain or stem: letters, digits, '-', '_' and spaces can"
            )
        if names.count(name) > 1:
            raise UserError(f"two tracks have the name {name!r}: each domain and each stem needs its own")
    counts = {name: len(players) for name, players in by_name.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"every domain must have the same number of stems, not {found}")
    asked = {stem: (lowest, highest) for stem, lowest, highest in ranges}
    for stem in asked:
        if stem not in stems:
            raise UserError(f"--range {stem}: no such stem; there are {', '.join(stems)}")
    made = {
        name: tuple(
            replace(player, lowest=asked[player.stem][0], highest=asked[player.stem][1])
            if player.stem in asked
            else player
            for player in players
        )
        for name, players in by_name.items()
    }
    shared_ranges(made)
    return made


def shared_ranges(domains: Domains) -> tuple[tuple[int, int], ...]:
    """For each position of the domains' stems, the lowest and highest pitch that all instruments there can sound.

    Raises:
        UserError: it is less than an octave, so that not every note could be moved into it.
    """
    ranges = []
    for players in zip(*domains.values(), strict=True):
        lowest, highest = max(player.lowest for player in players), min(player.highest for player in players)
        if highest - lowest < OCTAVE:
            listed = ", ".join(f"{player.stem} {player.lowest}-{player.highest}" for player in players)
            raise UserError(f"less than an octave can be played by all of: {listed}; see --range")
        ranges.append((lowest, highest))
    return tuple(ranges)


def _program(text: str) -> int:
    if text.isdecimal() and len(text) <= 4:
        return int(text)
    name = re.sub(r"[\s_]+", "-", text.strip().lower())
    if name in _ALIASES:
        return _ALIASES[name]
    if name not in PROGRAM_NAMES:
        raise UserError(
            f"{text!r} is no General MIDI program: a number from 0 to 127, or a name such as violin or flute"
        )
    return PROGRAM_NAMES.index(name)


def _pitch(text: str) -> int:
    if text.isdecimal():
        return int(text)
    semitones = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
    name, accidental, octave = re.fullmatch(r"([A-Ga-g])([#b]?)(-?\d)", text).groups()  # type: ignore[union-attr]
    return semitones[name.lower()] + {"#": 1, "b": -1, "": 0}[accidental] + OCTAVE * (int(octave) + 1)
