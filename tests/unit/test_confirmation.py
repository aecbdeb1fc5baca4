"""A user's confirmation: what it is for, and what follows where nobody can be asked."""

import pytest

from registry.errors import NotConfirmed
from server.confirmation import AnswerNeeded, Policy, Question, question_of, require_confirmed

QUESTION = question_of("acme", None, [("DELETE FROM t WHERE id = $1", [1])])


@pytest.mark.parametrize(
    ("policy", "answer", "goes_on"),
    [
        ("never", False, True),
        ("ask", True, True),
        ("ask", False, False),
        ("ask", None, True),
        ("require", True, True),
        ("require", False, False),
        ("require", None, False),
    ],
)
async def test_a_write_goes_on_as_the_policy_and_the_user_say(
    policy: str,
    answer: bool | None,  # noqa: FBT001 - what the user says
    goes_on: bool,  # noqa: FBT001 - what follows
) -> None:
    asked: list[Question] = []

    async def ask(question: Question) -> bool | None:
        asked.append(question)
        return answer

    if goes_on:
        await require_confirmed(Policy(policy), QUESTION, ask)
    else:
        with pytest.raises(NotConfirmed):
            await require_confirmed(Policy(policy), QUESTION, ask)
    assert asked == ([] if policy == "never" else [QUESTION])


async def test_where_there_is_no_way_to_ask_only_a_policy_that_requires_it_refuses() -> None:
    await require_confirmed(Policy.ASK, QUESTION, None)
    with pytest.raises(NotConfirmed, match="cannot ask"):
        await require_confirmed(Policy.REQUIRE, QUESTION, None)


async def test_an_answer_that_is_to_come_is_no_answer() -> None:
    async def ask(question: Question) -> bool | None:
        raise AnswerNeeded(question)

    with pytest.raises(AnswerNeeded):
        await require_confirmed(Policy.ASK, QUESTION, ask)


def test_a_yes_is_for_these_statements_parameters_role_and_tenant_alone() -> None:
    others = [
        question_of("acme", None, [("DELETE FROM t WHERE id = $1", [2])]),
        question_of("acme", None, [("DELETE FROM t WHERE id = $1", ["1"])]),
        question_of("acme", None, [("DELETE FROM t WHERE id = $1", [1]), ("DELETE FROM t WHERE id = $1", [1])]),
        question_of("acme", "ann", [("DELETE FROM t WHERE id = $1", [1])]),
        question_of("acm", None, [("DELETE FROM t WHERE id = $1", [1])]),
    ]

    assert len({QUESTION.digest, *(each.digest for each in others)}) == 1 + len(others)
    assert question_of("acme", None, [("DELETE FROM t WHERE id = $1", [1])]) == QUESTION


def test_the_user_reads_what_is_run_cut_to_what_can_be_read() -> None:
    assert QUESTION.text == "Write to acme? 1 statement:\nDELETE FROM t WHERE id = $1 [1]"
    hidden = question_of("acme", "ann", [("DELETE FROM t --\u202e\x1b[2K" + "x" * 5000, [])]).text
    assert hidden.startswith("Write to acme as ann? 1 statement:\nDELETE FROM t --\\u202e\\u001b[2K")
    assert len(hidden) < 1700
    assert "characters more" in hidden
