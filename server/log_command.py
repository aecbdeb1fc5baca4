"""`mcp-postgres log …`: what an operator does with the log as a whole; no server needs to run."""

import argparse
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from projections.compaction import Compactor, PublishedReplicas
from projections.exporting import Exported, Exporter
from projections.importing import FileRead, Importer, read_file
from projections.mending import Mender
from registry.entries import START, Position
from registry.errors import CommandRefused, RegistryUnavailable
from server.errors import StartError
from server.log_access import LogAccess, open_log
from server.log_files import lines_of, to_standard_output, writing
from server.log_report import report, summary
from server.log_tail import Tail, Told
from server.log_when import when
from server.settings import Settings
from server.tenants_command import user

_NEEDS: Final[Mapping[str, str]] = {
    "compact": "+xtrim",
    "import": "+xadd +xsetid +hset +expire +persist +rename +del +exists +set +evalsha +eval",
}
"""What a service's user in Redis has no need for."""
_TRIES: Final = 3
_SHOWN: Final = 20


async def run_log(settings: Settings, options: argparse.Namespace) -> None:
    """Run one of the `log` commands and print what it tells. Raises `StartError` if it ends with exit code 1."""
    async with open_log(settings) as access:
        try:
            await _VERBS[options.action](access, options)
        except CommandRefused as error:
            needed = _NEEDS.get(options.action)
            if needed is None:
                raise
            raise StartError(f"{error.message} log {options.action} needs a Redis user with {needed}.") from None


async def _verify(access: LogAccess, options: argparse.Namespace) -> None:
    inspected = await access.inspector(_since(options)).inspect()
    told = summary(access, inspected)
    if options.json:
        _print(msgspec.json.encode(told).decode())
    else:
        report(told, _print)
    if not told.ok:
        raise StartError(f"{told.wrong} thing(s) wrong, the first: {told.findings[0]}")


async def _tail(access: LogAccess, options: argparse.Namespace) -> None:
    def tell(told: Told) -> None:
        _print(msgspec.json.encode(told).decode() if options.json else str(told))

    after = START
    if options.after == "end":
        after = await access.log.end() or START
    elif options.after:
        after = Position.parse(options.after)
    await Tail(access.log, tell, options.tenant).run(after, follow=options.follow)


async def _export(access: LogAccess, options: argparse.Namespace) -> None:
    if options.out is None:
        await _exporter(access).export(to_standard_output, _now())
        return
    exported = await _export_to(access, Path(options.out))
    header = exported.header
    _print(f"Wrote {options.out}: {header.entries} entries up to {header.end}, {header.heads} tenants.")


async def _export_to(access: LogAccess, path: Path) -> Exported:
    """Write the file; once more if the log was changed in the way of it."""
    for _ in range(_TRIES - 1):
        try:
            with writing(path) as write:
                return await _exporter(access).export(write, _now())
        except RegistryUnavailable:
            continue
    with writing(path) as write:
        return await _exporter(access).export(write, _now())


async def _import(access: LogAccess, options: argparse.Namespace) -> None:
    path = Path(options.file)

    def lines() -> Iterator[bytes]:
        return lines_of(path)

    read = read_file(lines(), access.signer, _since(options))
    _check_file(read, force=options.force)
    await access.check()
    importer = Importer(access.archive, access.keys, uuid.uuid4().hex)
    await importer.require_empty()
    told = f"{read.header.entries} entries up to {read.end}, {len(read.tenants)} tenants"
    if options.dry_run:
        _print(f"Would import {told}. Nothing was written.")
        return
    await importer.put(read, lines)
    inspected = await access.inspector(_since(options)).inspect()
    for finding in inspected.findings[:_SHOWN]:
        _print(str(finding))
    _print(f"Imported {told}.")
    if inspected.count:
        raise StartError(f"{inspected.count} thing(s) are wrong with what was imported; log verify tells all.")


def _check_file(read: FileRead, *, force: bool) -> None:
    for finding in read.findings[:_SHOWN]:
        _print(str(finding))
    if read.findings and not force:
        raise StartError(
            f"{len(read.findings)} thing(s) are wrong with the log in the file; nothing was written. With --force it "
            "is imported as it is, and log rebuild-keys puts right what can be."
        )


async def _rebuild_keys(access: LogAccess, options: argparse.Namespace) -> None:
    inspector = access.inspector(_since(options))
    inspected = await inspector.inspect()
    mender = Mender(access.log, access.keys)
    mended = await mender.mend(inspected, dry_run=options.dry_run)
    verb = "Would mend" if options.dry_run else "Mended"
    for what, names in (("heads", mended.heads), ("keys", mended.keys), ("fences", mended.fences)):
        of_whom = f": {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}" if names else ""
        _print(f"{verb} {len(names)} {what}{of_whom}.")
    if mended.epoch:
        _print(f"{verb} the note of which log this is.")
    if not options.dry_run:
        inspected = await inspector.inspect()
    left = [
        finding for finding in inspected.findings if options.dry_run is False or _stays(finding.kind, finding.where)
    ]
    for finding in left:
        _print(str(finding))
    if left:
        raise StartError(f"{len(left)} thing(s) cannot be mended from the log, the first: {left[0]}")


def _stays(kind: str, where: str) -> bool:
    """Whether rebuilding keys does not concern what was found."""
    return kind not in {"head", "tenant_key", "fence", "epoch"} or where.startswith("tenant ")


async def _compact(access: LogAccess, options: argparse.Namespace) -> None:
    before = when(options.before, await access.archive.now())
    compactor = Compactor(
        access.log,
        access.archive,
        PublishedReplicas(access.redis, access.names),
        access.signer,
        actor=f"cli:{user()}",
        now=_now,
        new_id=lambda: uuid.uuid4().hex,
    )
    plan = await compactor.plan(await access.inspector(_since(options)).inspect(), before)
    if plan is None:
        _print("Nothing to take out: the log begins there or later.")
        return
    if options.dry_run:
        _print(f"Would take out {plan.entries} entries; {plan.first} would be the first. Nothing was written.")
        return
    if options.backup:
        await _export_to(access, Path(options.backup))
        _print(f"Wrote {options.backup}.")
    taken = await compactor.compact(plan)
    _print(
        f"Took out {taken} entries; the log begins with {plan.first}. {plan.tenants} tenants are told by their heads."
    )


async def _restore(access: LogAccess, options: argparse.Namespace) -> None:
    words = ("SET", access.names.permission, f"cli:{user()}", "PX", options.minutes * 60_000)
    if options.dry_run:
        _print("Would let the replicas restore the log. Nothing was written.")
        return
    await access.redis.run(*words)
    _print(
        f"For {options.minutes} minutes, replicas that wait for an operator (diverged) restore the log from what they "
        "hold. Watch /readyz, or: mcp-postgres log tail --follow"
    )


def _since(options: argparse.Namespace) -> int:
    """Return the number of the entry from which on all must be signed."""
    return Position.parse(options.signed_since).seq if options.signed_since else 0


def _exporter(access: LogAccess) -> Exporter:
    return Exporter(access.log, access.archive, access.keys, access.names.prefix)


def _now() -> datetime:
    return datetime.now(UTC)


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for


_VERBS: Final[Mapping[str, Callable[[LogAccess, argparse.Namespace], Awaitable[None]]]] = {
    "verify": _verify,
    "tail": _tail,
    "export": _export,
    "import": _import,
    "rebuild-keys": _rebuild_keys,
    "compact": _compact,
    "restore": _restore,
}
