from __future__ import annotations

import pytest

from musicstar_ext.data.instruments import (
    DEFAULT_DOMAINS,
    PROGRAM_NAMES,
    can_play,
    equivalents,
    instrument,
    make_domains,
    parse_domain,
    parse_range,
    shared_ranges,
)
from musicstar_ext.errors import UserError


def test_programs_are_those_of_general_midi():
    assert len(PROGRAM_NAMES) == len(set(PROGRAM_NAMES)) == 128
    known = {0: "acoustic-grand-piano", 11: "vibraphone", 48: "string-ensemble-1", 56: "trumpet", 71: "clarinet"}
    known |= {24: "nylon-guitar", 73: "flute", 80: "lead-1", 104: "sitar", 114: "steel-drums", 127: "gunshot"}
    assert {program: PROGRAM_NAMES[program] for program in known} == known


def test_a_program_is_a_number_or_a_name():
    name, players = parse_domain("quartet=lead:violin,a b:String_Ensemble 1,piano,low:42")
    assert name == "quartet"
    assert [(player.stem, player.program) for player in players] == [
        ("lead", 40),
        ("a b", 48),
        ("piano", 0),
        ("low", 42),
    ]
    assert (players[3].lowest, players[3].highest) == (36, 81)


def test_the_default_is_what_would_be_asked_for():
    asked = ["strings-piano=strings:48,piano:0", "clarinet-vibraphone=clarinet:71,vibraphone:11"]
    assert make_domains([parse_domain(text) for text in asked]) == DEFAULT_DOMAINS
    assert shared_ranges(DEFAULT_DOMAINS) == ((50, 94), (53, 89))


def test_a_range_takes_the_place_of_the_usual_one():
    domains = make_domains([parse_domain("a=x:flute"), parse_domain("b=y:piano")], [parse_range("x=C4-Bb5")])
    assert shared_ranges(domains) == ((60, 82),)
    assert parse_range("x=C-1-20") == ("x", 0, 20)
    assert parse_range("x=F#3-g9") == ("x", 54, 127)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "NAME=STEM:PROGRAM"),
        ("name", "NAME=STEM:PROGRAM"),
        ("=a:1", "NAME=STEM:PROGRAM"),
        ("name=", "NAME=STEM:PROGRAM"),
        ("name=a:1,", "'' is not STEM:PROGRAM"),
        ("name=a:", "'a:' is not STEM:PROGRAM"),
        ("name=:3", "':3' is not STEM:PROGRAM"),
        ("name=a:128", "numbered 0 to 127, not 128"),
        ("name=a:-1", "'-1' is no General MIDI program"),
        ("name=a:99999999999999999999", "is no General MIDI program"),
        ("name=kazoo", "'kazoo' is no General MIDI program"),
        ("name=a:applause", "has no pitch"),
    ],
)
def test_a_domain_that_is_written_wrongly_is_refused(text: str, problem: str):
    with pytest.raises(UserError, match=problem):
        parse_domain(text)


@pytest.mark.parametrize("text", ["", "a", "a=", "a=60", "a=60-", "a=72-60", "a=60-60", "a=0-128", "=1-99", "a=H2-C5"])
def test_a_range_that_is_written_wrongly_is_refused(text: str):
    with pytest.raises(UserError, match="must be STEM=LOWEST-HIGHEST"):
        parse_range(text)


@pytest.mark.parametrize(
    ("domains", "ranges", "problem"),
    [
        (["a=x:0", "a=y:0"], [], "two tracks have the name 'a'"),
        (["a=x:0", "b=x:0"], [], "two tracks have the name 'x'"),
        (["a=x:0,x:1"], [], "two tracks have the name 'x'"),
        (["a=a:0"], [], "two tracks have the name 'a'"),
        (["a=x:0", "b=y:0,z:0"], [], "same number of stems, not a 1, b 2"),
        (["a=../x:0"], [], "'../x' cannot be the name"),
        ([".a=x:0"], [], "'.a' cannot be the name"),
        (["a=x:0"], ["y=1-99"], "no such stem; there are x"),
        (["a=x:piccolo", "b=y:tuba"], [], "less than an octave can be played by all of: x 74-108, y 26-65"),
        (["a=x:0"], ["x=60-71"], "less than an octave"),
    ],
)
def test_domains_that_do_not_go_together_are_refused(domains: list[str], ranges: list[str], problem: str):
    with pytest.raises(UserError, match=problem):
        make_domains([parse_domain(text) for text in domains], [parse_range(text) for text in ranges])


def test_equivalents_begin_with_the_program_itself_and_have_pitches():
    for program in range(128):
        assert equivalents(program)[0] == program
    assert 49 not in equivalents(48)  # slow strings begin late
    assert all(instrument("x", other).program == other for other in equivalents(48))
    assert can_play(40, 55, 100)
    assert not can_play(40, 54, 80)
    assert not can_play(127, 60, 61)
