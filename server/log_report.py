"""What `log verify` tells, for people and for programs."""

from collections import Counter
from collections.abc import Callable

import msgspec

from projections.inspection import Inspected
from registry.verify import Finding
from server.log_access import LogAccess


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """How many signatures fit, and how many could not be checked for want of the event before."""

    checked: int
    unchecked: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what is wrong.

    Attributes:
        compacted: What a compaction has taken out, in words; `by_head` tenants are told by head and key alone.
        signatures: None if no signing key is given.
        passwords: Whether data keys and passwords were opened; no if no key file is given.
        changing: Tenants that changed meanwhile, about which nothing is said.
        wrong: How much is; `findings` are at most a thousand of it.
    """

    ok: bool
    stream: str
    end: str
    entries: int
    live: int
    removed: int
    quarantined: int
    compacted: list[str]
    by_head: int
    signatures: Signatures | None
    passwords: bool
    changing: list[str]
    wrong: int
    findings: list[Finding]


def summary(access: LogAccess, inspected: Inspected) -> Summary:
    """Return it."""
    verifier = inspected.verifier
    kinds = Counter(type(truth.tenant).__name__ for truth in inspected.truths.values())
    signatures = Signatures(checked=verifier.signed, unchecked=verifier.unchecked) if access.signer.signs else None
    return Summary(
        ok=inspected.count == 0,
        stream=access.names.stream,
        end=str(inspected.snapshot.end),
        entries=verifier.entries,
        live=kinds["Live"],
        removed=kinds["Removed"],
        quarantined=kinds["Quarantined"],
        compacted=[str(gap) for gap in verifier.compacted],
        by_head=inspected.by_head,
        signatures=signatures,
        passwords=access.master is not None,
        changing=inspected.moved,
        wrong=inspected.count,
        findings=inspected.findings,
    )


def report(told: Summary, say: Callable[[str], None]) -> None:
    """Say it line by line, what is wrong first."""
    for finding in told.findings:
        say(str(finding))
    if told.wrong > len(told.findings):
        say(f"… and {told.wrong - len(told.findings)} more")
    quarantined = f", {told.quarantined} unreadable" if told.quarantined else ""
    say(
        f"{told.stream} up to {told.end}: {told.entries} entries, {told.live} tenants live, {told.removed} removed"
        f"{quarantined}"
    )
    for gap in told.compacted:
        say(f"compacted: {gap} were taken out; heads and keys alone tell of {told.by_head} tenants")
    if told.signatures is None:
        say("signatures were not looked at: no signing key is given")
    else:
        unchecked = told.signatures.unchecked
        before = f"; {unchecked} could not be checked, the event before being taken out" if unchecked else ""
        say(f"{told.signatures.checked} signatures fit{before}")
    if not told.passwords:
        say("passwords were not looked at: no key file is given")
    if told.changing:
        say(f"{len(told.changing)} tenants changed meanwhile and were not looked at")
    if told.ok:
        say("nothing is wrong")
