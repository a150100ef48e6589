from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from survey_raters import METHODS, PIECES, RATE, SECONDS, build_arguments, chord

from musicstar_ext.errors import UserError
from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.survey import build
from musicstar_ext.evaluation.survey.description import from_folders, from_json
from musicstar_ext.evaluation.survey.loudness import loudness_lufs

pytest.importorskip("scipy")


def page_audio(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """What the scripts of a page hold, by id."""
    found = {}
    for path in (folder / "page" / "audio").iterdir():
        match = re.fullmatch(r'musicstarAudio\("([0-9a-f]{12})","([A-Za-z0-9+/=]+)"\);\n', path.read_text())
        assert match
        assert match[1] == path.stem
        found[match[1]] = soundfile.read(io.BytesIO(base64.b64decode(match[2])), dtype="float64")
    return found


def public_data(folder: Path) -> dict:
    page = (folder / "page" / "index.html").read_text()
    return json.loads(re.search(r'<script type="application/json" id="survey">(.*?)</script>', page, re.DOTALL)[1])


def test_nothing_in_the_page_tells_the_methods(survey: Path):
    files = [path for path in (survey / "page").rglob("*") if path.is_file()]
    assert len(files) == 1 + len(PIECES) * (2 + len(METHODS))
    for path in files:
        text = path.read_bytes().lower()
        for name in (*METHODS, *PIECES, "/recordings"):
            assert name.encode() not in text, f"{name} in {path.name}"
            assert name not in path.name
    for identifier in [p.stem for p in files if p.suffix == ".js"]:
        assert re.fullmatch("[0-9a-f]{12}", identifier)
    assert not (survey / "page" / "key.json").exists()
    # Nor does the order in which the files were written.
    assert len({path.stat().st_mtime for path in files}) == 1


def test_no_metadata_is_in_the_audio(survey: Path):
    for path in (survey / "page" / "audio").iterdir():
        data = base64.b64decode(path.read_text().split('"')[3])
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            assert file.format == "FLAC"
            assert file.subtype == "PCM_16"
            assert not file.copy_metadata()


def test_the_key_knows_whose_each_recording_is(survey: Path, recordings: Path):
    key = json.loads((survey / "key.json").read_text())
    audio = page_audio(survey)
    assert key["methods"] == list(METHODS)
    for piece in key["pieces"]:
        for identifier, method in piece["outputs"].items():
            original, _ = soundfile.read(recordings / method / f"{piece['name']}.wav")
            samples, rate = audio[identifier]
            assert rate == RATE
            gain = 10 ** (piece["gain_db"][identifier] / 20)
            np.testing.assert_allclose(samples, original * gain, atol=2e-3 * gain + 2e-5)


def test_each_piece_has_other_names_and_public_lists_are_not_in_the_methods_order(survey: Path):
    data = public_data(survey)
    outputs = [identifier for piece in data["pieces"] for identifier in piece["outputs"]]
    assert len(set(outputs)) == len(PIECES) * len(METHODS)
    for piece in data["pieces"]:
        assert piece["outputs"] == sorted(piece["outputs"])


def test_all_recordings_of_a_piece_are_equally_loud_and_none_clips(survey: Path):
    for piece in json.loads((survey / "key.json").read_text())["pieces"]:
        audio = page_audio(survey)
        ids = [piece["input"], piece["gold"], *piece["outputs"]]
        levels = [loudness_lufs(audio[identifier][0], RATE) for identifier in ids]
        assert max(levels) - min(levels) < 0.05
        assert max(levels) == pytest.approx(-20, abs=0.1)
        assert max(np.abs(audio[identifier][0]).max() for identifier in ids) < 0.9


def test_a_peaky_recording_lowers_all_of_its_piece_rather_than_clip(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    clicks = np.zeros(round(SECONDS * RATE))
    clicks[::8000] = 0.9
    soundfile.write(folder / "zebra" / "waltz.wav", clicks, RATE)
    assert main(build_arguments(folder, tmp_path / "out")) == 0
    assert "waltz: all play at" in capsys.readouterr().err
    audio = page_audio(tmp_path / "out")
    assert max(np.abs(samples).max() for samples, _ in audio.values()) <= 0.9
    waltz = json.loads((tmp_path / "out" / "key.json").read_text())["pieces"][1]
    levels = [loudness_lufs(audio[identifier][0], RATE) for identifier in (waltz["input"], *waltz["outputs"])]
    assert max(levels) - min(levels) < 0.5  # 16 bits are coarse down here


def test_without_matching_levels_stay(recordings: Path, tmp_path: Path):
    assert main(build_arguments(recordings, tmp_path / "out", "--no-match-loudness")) == 0
    key = json.loads((tmp_path / "out" / "key.json").read_text())
    for piece in key["pieces"]:
        assert len(set(piece["gain_db"].values())) == 1
        assert -1.2 < piece["gain_db"][piece["input"]] <= 0  # only what keeps its peak 1 dB below full scale


def test_lengths_and_rates_are_made_equal_with_a_warning(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    soundfile.write(folder / "gold" / "fugue.wav", chord(3, 3.0, 16_000), 16_000)
    soundfile.write(folder / "okapi" / "fugue.wav", np.stack([chord(4, 2.0)] * 2, 1), RATE)
    assert main(build_arguments(folder, tmp_path / "out", "--pieces", "fugue")) == 0
    captured = capsys.readouterr()
    assert "sample rates differ or exceed 48000 Hz (8000, 16000): all become 16000 Hz" in captured.err
    assert "piece fugue: lengths differ by 1.00 s: all are cut to the 2.00 s of" in captured.err
    assert "1 piece, 3 methods" in captured.out
    for samples, rate in page_audio(tmp_path / "out").values():
        assert rate == 16_000
        assert samples.shape == (32_000,)


def test_a_silent_output_is_kept_and_named(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    soundfile.write(folder / "okapi" / "fugue.wav", np.zeros(20_000), RATE)
    assert main(build_arguments(folder, tmp_path / "out")) == 0
    assert "okapi/fugue.wav: is silent" in capsys.readouterr().err


def test_a_seed_fixes_the_names_and_none_makes_fresh_ones(recordings: Path, survey: Path, tmp_path: Path):
    def names(folder: Path) -> set[str]:
        return {path.name for path in (folder / "page" / "audio").iterdir()}

    again = build_arguments(recordings, tmp_path / "again", "--seed", "5", "--title", "Which is best?")
    assert main(again) == 0
    assert names(tmp_path / "again") == names(survey)
    for name in "ab":
        assert main(build_arguments(recordings, tmp_path / name)) == 0
    assert not names(tmp_path / "a") & names(tmp_path / "b")


def test_texts_cannot_break_out_of_the_page(recordings: Path, tmp_path: Path):
    title = "</script><script>alert(1)</script><!-- [[style]] & 'x'"
    assert main(build_arguments(recordings, tmp_path / "out", "--title", title)) == 0
    page = (tmp_path / "out" / "page" / "index.html").read_text()
    assert "<script>alert" not in page
    assert public_data(tmp_path / "out")["title"] == title


def test_the_page_needs_nothing_from_elsewhere(survey: Path):
    page = (survey / "page" / "index.html").read_text()
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", page)
    assert "fetch(" not in re.sub(r"//.*", "", page)
    assert "[[" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_a_description_says_the_same(recordings: Path, tmp_path: Path):
    pieces = [
        {
            "name": name,
            "input": str(recordings / "input" / f"{name}.wav"),
            "gold": str(recordings / "gold" / f"{name}.wav"),
            "outputs": {method: str(recordings / method / f"{name}.wav") for method in METHODS},
        }
        for name in PIECES
    ]
    path = tmp_path / "survey.json"
    path.write_text(json.dumps({"pieces": pieces, "input_label": "strings"}))
    methods = [(name, recordings / name) for name in METHODS]
    by_name = from_folders(recordings / "input", recordings / "gold", methods)
    by_json = from_json(path)
    assert by_json.pieces == by_name.pieces
    assert by_json.methods == by_name.methods
    assert by_json.input_label == "strings"
    assert main(["survey", "build", str(tmp_path / "out"), "--description", str(path)]) == 0
    assert public_data(tmp_path / "out")["inputLabel"] == "strings"


def without(recordings: Path, target: Path, change: Callable[[Path], object]) -> Path:
    shutil.copytree(recordings, target)
    change(target)
    return target


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: (f / "zebra" / "waltz.wav").unlink(), "zebra: no audio file for the piece 'waltz'"),
        (lambda f: shutil.rmtree(f / "gold"), "gold: no such folder"),
        (lambda f: [p.unlink() for p in (f / "input").iterdir()], "input: no audio files in this folder"),
        (lambda f: [p.rename(p.with_name("x" + p.name)) for p in (f / "gold").iterdir()], "no file has the name of"),
        (lambda f: (f / "okapi" / "fugue.wav").write_bytes(b"no audio"), "okapi/fugue.wav: not an audio file"),
        (lambda f: (f / "okapi" / "fugue.wav").write_bytes(b""), "okapi/fugue.wav: is empty"),
        (lambda f: shutil.copy(f / "input" / "fugue.wav", f / "input" / "fugue.flac"), "would be the same piece"),
        (lambda f: soundfile.write(f / "gold" / "fugue.wav", chord(1, 0.3), RATE), "0.30 seconds; a piece must have"),
        (
            lambda f: soundfile.write(f / "gold" / "fugue.wav", np.full(20_000, np.nan), RATE, subtype="FLOAT"),
            "gold/fugue.wav: sample 0 is not finite",
        ),
    ],
)
def test_bad_recordings_are_one_line_and_leave_nothing(
    change: Callable[[Path], object],
    problem: str,
    recordings: Path,
    tmp_path: Path,
    refused: Callable[[list[str]], str],
):
    folder = without(recordings, tmp_path / "recordings", change)
    assert problem in refused(build_arguments(folder, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--method", "zebra=x"], "two methods are called 'zebra'"),
        (["--method", "zebra"], "must be NAME=DIR"),
        (["--method", "=x"], "must be NAME=DIR"),
        (["--pieces", "fugue,gigue"], "no audio file for the piece 'gigue'"),
        (["--pieces", "fugue,fugue"], "the piece 'fugue' is there twice"),
        (["--pieces", "fugue,,waltz"], "names with commas"),
        (["--seed", "-1"], "from 0"),
        (["--title", " "], "title must be 1 to 200 printable characters"),
        (["--title", "x" * 201], "title must be"),
        (["--gold-label", "a\nb"], "gold_label must be"),
        (["--description", "x.json"], "--description already says what --input would"),
    ],
)
def test_bad_arguments_are_one_line(
    more: list[str], problem: str, recordings: Path, tmp_path: Path, refused: Callable[[list[str]], str]
):
    assert problem in refused(build_arguments(recordings, tmp_path / "out", *more))
    assert not list(tmp_path.iterdir())


def test_more_bad_arguments(recordings: Path, tmp_path: Path, refused: Callable[[list[str]], str]):
    arguments = build_arguments(recordings, tmp_path / "out")
    assert "2 to 9 methods, not 1" in refused(arguments[:-4])
    assert "--method is needed" in refused(arguments[:-6])
    assert "--input is needed" in refused(["survey", "build", str(tmp_path / "out")])
    assert "is there already" in refused(build_arguments(recordings, tmp_path))
    assert "cannot be made" in refused(build_arguments(recordings, tmp_path / "no" / "out"))
    copy = [*arguments, "--method", f"copy={recordings / 'zebra'}"]
    assert "is the output of both zebra and copy" in refused(copy)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"pieces": []}', "must be a list of pieces"),
        ('{"pieces": [{"name": "a"}]}', "exactly the entries"),
        ('{"pieces": [], "methods": 3}', "unknown entry 'methods'"),
        ('{"pieces": [{"name": 3, "input": "a", "gold": "b", "outputs": {}}]}', "must be texts"),
        ('{"pieces": [{"name": "a", "input": "a", "gold": "b", "outputs": {"m": "c"}}]}', "2 to 9 methods, not 1"),
        ('{"pieces": [{"name": "a", "input": "a", "gold": "b", "outputs": {"m": "c", "m": "d"}}]}', "'m' is there tw"),
        ('{"pieces": [{"name": "a", "input": "a", "gold": "b", "outputs": {"m": "c", "n": "d"}}]}', "a: no such file"),
        ("[" * 100_000, "not JSON"),
    ],
)  # fmt: skip
def test_bad_descriptions_are_one_line(content: str, problem: str, tmp_path: Path, refused: Callable[[list[str]], str]):
    path = tmp_path / "survey.json"
    path.write_text(content)
    assert problem in refused(["survey", "build", str(tmp_path / "out"), "--description", str(path)])
    assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_nothing(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def interrupted(*arguments: object) -> str:
        calls.append(arguments)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return "x"

    monkeypatch.setattr(build, "page_script", interrupted)
    assert main(build_arguments(recordings, tmp_path / "out")) == 130
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "page_script", full)
    methods = [(name, recordings / name) for name in METHODS]
    description = from_folders(recordings / "input", recordings / "gold", methods)
    with pytest.raises(UserError, match="out: cannot be written: No space left"):
        build.build_survey(description, tmp_path / "out")
    assert not list(tmp_path.iterdir())
