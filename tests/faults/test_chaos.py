"""Three replicas keep their promises while they and their Redis are killed, frozen and cut off; three seeds of it."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.embedded.sockets import is_free
from tests.faults.chaos import findings, repeat, run, table
from tests.faults.history import Began, Broken, History
from tests.faults.verdict import judge, summarise
from tests.processes import eventually

SECONDS = 18.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_guarantee_holds_whatever_breaks(seed: int, tmp_path: Path) -> None:
    folder = tmp_path / f"seed-{seed}"

    history = run(seed, SECONDS, folder)

    wrong, summary = findings(judge(history)), summarise(history)
    assert not wrong, f"{wrong}\n{table(summary)}\nThe history is in {folder}; again with: {repeat(seed, SECONDS)}"
    assert summary.acknowledged > 50, table(summary)
    assert len({fault.kind for fault in history.of(Broken)}) >= 3, table(summary)
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_ended_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "seed-1"
    argv = [sys.executable, "-m", "tests.faults.chaos", "--seconds", "60", "--seed", "1", "--folder", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run_apart:
        try:
            eventually(lambda: '"operation"' in _text(folder / "history.jsonl"), "nothing ever began")
        finally:
            run_apart.send_signal(number)

    ports = [int(_text(folder / "redis" / "port")), *(began.port for began in _began(folder))]
    assert len(ports) >= 4
    eventually(lambda: all(is_free(port) for port in ports), f"somebody still listens on one of {ports}")


def _began(folder: Path) -> list[Began]:
    whole_lines = _text(folder / "history.jsonl").rpartition("\n")[0]
    (folder / "whole.jsonl").write_text(whole_lines)
    return History.read(folder / "whole.jsonl").of(Began)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
