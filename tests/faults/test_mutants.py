"""A few mechanisms are taken away, and a test must go red; `make mutants` does so with all of them."""

import pytest

from tests.faults.mechanisms import MUTANTS, Mutant
from tests.faults.mutation import try_out

QUICK = [mutant for mutant in MUTANTS if mutant.quick]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_takes_away_is_still_in_its_file(mutant: Mutant) -> None:
    assert mutant.text_is_there()


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_without_the_mechanism_a_test_goes_red(mutant: Mutant) -> None:
    assert try_out(mutant, quick=True).killed_by is not None
