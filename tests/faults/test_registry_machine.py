"""Programs of everything that may befall the registry, drawn by `registry_machine.py`, and how they end.

MACHINE_SECONDS=600 draws programs for as long, at random; without it they are few and always the same.
"""

import os
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase as Step, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.programs import PROGRAMS, Program
from tests.faults.registry_machine import RegistryMachine
from tests.faults.stepped import without_pauses


@pytest.fixture
def machine(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> type[RegistryMachine]:
    without_pauses(monkeypatch)
    return type("RegistryMachine", (RegistryMachine,), {"url": redis_url, "reached": Counter()})


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_everybody_agrees_and_nothing_told_is_forgotten_when(machine: type[RegistryMachine], program: Program) -> None:
    played = machine()
    try:
        played.begin()
        program(played)
    finally:
        played.teardown()


def test_whatever_happens_everybody_agrees_and_nothing_told_is_forgotten(machine: type[RegistryMachine]) -> None:
    seconds = float(os.environ.get("MACHINE_SECONDS", "0"))
    drawn = settings(
        max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
        stateful_step_count=30,
        deadline=None,
        derandomize=not seconds,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Step.generate] if os.environ.get("MACHINE_QUICK") else [Step.generate, Step.shrink],
        suppress_health_check=list(HealthCheck),
    )
    until = time.monotonic() + seconds
    while True:
        run_state_machine_as_test(machine, settings=drawn)
        if time.monotonic() >= until:
            break
    for what, often in sorted(machine.reached.items()):
        print(f"{often:6} {what}")  # noqa: T201 - what -s shows to whoever wonders
