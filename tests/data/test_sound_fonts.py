from __future__ import annotations

from pathlib import Path

import pytest
from fake_sound_fonts import write_fake_font

from musicstar_ext.data.instruments import DEFAULT_DOMAINS
from musicstar_ext.data.sound_fonts import check_programs, programs_of
from musicstar_ext.errors import UserError


def test_programs_are_read_from_the_presets(tmp_path: Path):
    assert programs_of(write_fake_font(tmp_path / "a.sf2", [3, 71, 127])) == {3, 71, 127}
    assert programs_of(write_fake_font(tmp_path / "none.sf2", [])) == set()


def test_a_real_font_has_all_programs(sound_font: Path):
    assert programs_of(sound_font) == set(range(128))


@pytest.mark.parametrize("size", [12, 13, 40, 70, 80])
def test_a_truncated_font_is_one_clear_line(tmp_path: Path, size: int):
    whole = write_fake_font(tmp_path / "a.sf2").read_bytes()
    (tmp_path / "cut.sf2").write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"cut.sf2: a damaged sound font"):
        programs_of(tmp_path / "cut.sf2")


def test_fonts_that_are_none_are_refused(tmp_path: Path):
    (tmp_path / "text.sf2").write_text("no font")
    with pytest.raises(UserError, match="not a sound font"):
        programs_of(tmp_path / "text.sf2")
    with pytest.raises(UserError, match="cannot be read"):
        programs_of(tmp_path / "missing.sf2")


def test_a_missing_program_is_named(tmp_path: Path):
    check_programs([write_fake_font(tmp_path / "a.sf2")], DEFAULT_DOMAINS)
    with pytest.raises(UserError, match=r"b.sf2: has no General MIDI program 11 \(vibraphone\) for vibraphone"):
        check_programs([write_fake_font(tmp_path / "b.sf2", [0, 48, 71])], DEFAULT_DOMAINS)
