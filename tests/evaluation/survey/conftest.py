from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from survey_raters import METHODS, PIECES, RATE, build_arguments, chord

from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.survey.results import Key, read_key


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders input, gold and one a method, each with fugue.wav and waltz.wav; no two equally loud."""
    root = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate(("input", "gold", *METHODS)):
        (root / name).mkdir()
        for piece, title in enumerate(PIECES):
            samples = chord(10 * number + piece, amplitude=0.9 / (number + 1))
            soundfile.write(root / name / f"{title}.wav", samples, RATE, subtype="PCM_16")
    return root


@pytest.fixture(scope="session")
def survey(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `survey build` makes of `recordings`."""
    output = tmp_path_factory.mktemp("survey") / "test"
    assert main(build_arguments(recordings, output, "--seed", "5", "--title", "Which is best?")) == 0
    return output


@pytest.fixture(scope="session")
def key(survey: Path) -> Key:
    return read_key(survey / "key.json")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """A function (arguments) -> the one line on stderr of a command that ends with exit status 2."""

    def run(arguments: list[str]) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return run
