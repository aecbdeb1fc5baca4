"""Redis forgets, all of it or a part, and nothing acknowledged is lost while a replica lives that had read it."""

import shutil
from pathlib import Path

import pytest

from tests.faults.chaos import Loss, findings, loss_table, repeat, run_losses
from tests.faults.history import Lost
from tests.faults.loss_summary import summarise
from tests.faults.loss_verdict import judge

SECONDS = 9.0


@pytest.mark.parametrize(("seed", "loss"), [(1, "restore"), (2, "restore"), (1, "halt")])
def test_what_redis_forgets_is_said_again_by_those_who_had_read_it(seed: int, loss: Loss, tmp_path: Path) -> None:
    folder = tmp_path / f"seed-{seed}"

    history = run_losses(seed, SECONDS, folder, loss)

    wrong, summary = findings(judge(history)), summarise(history)
    again = repeat(seed, SECONDS, loss)
    assert not wrong, f"{wrong}\n{loss_table(summary)}\nThe history is in {folder}; again with: {again}"
    assert summary.acknowledged > 20, loss_table(summary)
    assert summary.restated > 0, loss_table(summary)
    assert len(history.of(Lost)) >= 2, loss_table(summary)
    shutil.rmtree(folder)
