import csv
import math
import os

import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.training.logging import COLUMNS, Report, TrainingLog, duration


def report(step: int, validation: float = math.nan) -> Report:
    return Report(step, step / 10, 0.5, 2.5, validation, 1e-3, 16_000.0, 120.0)


def steps(path) -> list[str]:
    with path.open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def write(path, found: list[int], step: int = -1) -> None:
    log = TrainingLog(path, step, last_step=50)
    for number in found:
        log.write(report(number))
    log.close()


def test_a_line_names_its_units(tmp_path, capsys):
    log = TrainingLog(tmp_path / "log.csv", -1, last_step=50)
    log.write(report(10, validation=2.25))
    log.write(report(20))
    log.close()
    first, second = capsys.readouterr().out.splitlines()
    expected = "loss 2.5000  validation 2.2500 nats  lr 1.00e-03  16.0 k samples/s  2 min left"
    assert first == f"step 10/50  epoch 1.00  {expected}"
    assert "validation" not in second


def test_rows(tmp_path):
    write(tmp_path / "log.csv", [0, 5])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[2] == "5,0.5,0.5,2.5,nan,0.001,16000,120"


def test_a_resumed_log_drops_what_comes_again(tmp_path):
    write(tmp_path / "log.csv", [0, 5, 10])
    write(tmp_path / "log.csv", [6, 7], step=5)
    assert steps(tmp_path / "log.csv") == ["0", "5", "6", "7"]


def test_a_row_cut_by_a_kill_is_dropped(tmp_path):
    write(tmp_path / "log.csv", [0, 5])
    with (tmp_path / "log.csv").open("a") as file:
        file.write("6,0.6,0.")
    write(tmp_path / "log.csv", [6], step=6)
    assert steps(tmp_path / "log.csv") == ["0", "5", "6"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_unit(tmp_path, capsys):
    with TrainingLog(tmp_path / "log.csv", -1, last_step=50, unit="L1") as log:
        log.write(report(10, validation=2.25))
    assert "loss 2.5000  validation 2.2500 L1" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    log = TrainingLog(tmp_path / "log.csv", -1, last_step=50)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._file.fileno())
    os.close(full)
    with pytest.raises(UserError, match=r"log\.csv: cannot be written: No space left on device"), log:
        log.write(report(10))
