"""What a run left behind, made part of its history: the replicas' logs, the log, and who tells what at the end."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from projections.directory import Directory
from registry import codec
from registry.entries import Entry, Foreign, Position
from registry.errors import TenancyError
from registry.events import TenantRegistered, TenantRemoved
from registry.names import Names
from registry.secrets import MasterKeys
from registry.state import Live, Tenant
from server.master_keys import load_master_keys
from tests.faults.history import (
    Announced,
    Applied,
    Began,
    Complained,
    Leaked,
    Logged,
    Noticed,
    Ok,
    Outcome,
    Record,
    Restored,
    Seen,
    Unknown,
)
from tests.faults.workload import CANARY, TENANTS, call, password_of
from tests.faults.world import Redis, Replica, World, await_
from tests.folding import entry_of
from tests.waiting import now

_AGREE_WITHIN: Final = 30.0
_MENDED_WITHIN: Final = 15.0
_ANSWERS_WITHIN: Final = 10.0
_COMMAND: Final = re.compile(r"command (\d+)\Z")
_OF_THE_LOG: Final = frozenset({"log does not link", "log restored", "restoring the log"})
_NAMES: Final = Names()


def collect(world: World) -> None:
    """Wait until the replicas agree with the log, and tell the recorder all that the checks need.

    That they do not agree in time is told too, and is wrong by itself.
    """
    tell = world.recorder.tell
    await_agreement(world)
    for began in world.recorder.history().of(Began):
        log = world.folder / f"replica-{began.replica}.{began.life}.log"
        for record in marks_of(log, began, world.recorder.since_began):
            tell(record)
    directory = Directory()
    for record in (*read_log(world.redis, directory), *views(world, directory), *leaks(world.folder)):
        tell(record)


def await_agreement(world: World) -> None:
    """Wait until the replicas agree with the log on a position; tell if they do not, or if one has ended."""
    tell = world.recorder.tell
    try:
        await_(lambda: _agree(world), "the replicas and the log never agreed on a position", _AGREE_WITHIN)
    except TimeoutError as error:
        tell(Complained(replica="all", life=0, line=str(error)))
    for replica in world.replicas:
        if (code := replica.process.popen.poll()) is not None:
            tell(Complained(replica=replica.name, life=0, line=f"ended by itself with exit code {code}"))


def marks_of(log: Path, began: Began, since_began: Callable[[str], float]) -> Iterator[Record]:
    """Read what a replica's log tells of what it applied, of the fate of the log, and what it complained of."""
    who: dict[str, Any] = {"replica": began.replica, "life": began.life}
    whole, _, _ = log.read_text("utf-8", "replace").rpartition("\n")  # what follows was cut off by a kill
    for raw in whole.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            yield Complained(**who, line=raw)
            continue
        if line["level"] in ("error", "critical"):
            yield Complained(**who, event=line["event"], line=raw)
        if line["event"] in _OF_THE_LOG or line["event"].startswith("registry "):
            yield _noticed(line, who, since_began)
        match line["event"]:
            case "applied":
                yield Applied(
                    **who,
                    position=Position.parse(line["position"]),
                    prev=Position.parse(line["prev"]),
                    tenant=line["tenant"],
                    version=line["version"],
                    state=line["state"],
                )
            case "registry following":
                yield Announced(**who, position=Position.parse(line["position"]))
            case "registry restoring" | "log restored":
                yield Restored(**who, epoch=line.get("epoch", ""), at=since_began(line["timestamp"]))
            case _:
                pass


def _noticed(line: dict[str, Any], who: dict[str, Any], since_began: Callable[[str], float]) -> Noticed:
    what = line["finding"] if line["event"] == "log does not link" else line["event"]
    return Noticed(**who, what=what, reason=line.get("reason") or "", at=since_began(line["timestamp"]))


def read_log(server: Redis, directory: Directory) -> Iterator[Logged | Complained]:
    """Read the whole log with the product's own codec, and fold it into `directory`, up to what cannot be."""
    with server.client() as client:
        entries = [entry_of(entry, fields) for entry, fields in client.xrange(_NAMES.stream)]
    for entry in entries:
        try:
            tenant = directory.apply(entry)
        except TenancyError as error:
            yield Complained(replica="the log", life=0, line=error.message)
            return
        yield logged(entry, tenant)


def views(world: World, directory: Directory) -> Iterator[Seen]:
    """Return who tells which tenants at the end: each replica by both tools, the heads, the keys, the passwords."""
    for replica in world.replicas:
        yield Seen(by=f"list_tenants of replica {replica.name}", tenants=_listed(replica))
        yield Seen(by=f"get_tenant of replica {replica.name}", tenants=_looked_at(replica))
    with world.redis.client() as client:
        yield Seen(by="the heads", tenants=_heads(client, directory))
        expected = {tenant.tenant: (tenant.version, tenant.config.database) for tenant in directory.live()}
        with contextlib.suppress(TimeoutError):  # what they say instead is for the check to tell
            await_(lambda: _keys(client) == expected, "the keys", _MENDED_WITHIN)
        yield Seen(by="the tenants' keys", tenants=_keys(client))
        yield Seen(by="the sealed passwords", tenants=_passwords(client, directory, world.folder / "master.key"))


def leaks(folder: Path) -> Iterator[Leaked]:
    """Look for passwords in all that was written: the replicas' logs, and every command that Redis was ever given."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and CANARY.encode() in path.read_bytes():
            yield Leaked(file=str(path.relative_to(folder)))


def _agree(world: World) -> bool:
    try:
        with world.redis.client() as client:
            info = client.xinfo_stream(_NAMES.stream)
    except redis.ResponseError:  # the log is gone
        return False
    end = str(Position(info["entries-added"], info["last-generated-id"].decode()))
    told = [replica.readiness() for replica in world.replicas]
    return all((each.get("phase"), each.get("position")) == ("following", end) for each in told)


def logged(entry: Entry | Foreign, tenant: Tenant | None) -> Logged:
    """Tell what the entry made of the tenant that it is about, whatever kind of event it is."""
    assert isinstance(entry, Entry)
    if tenant is None:
        return Logged(position=entry.position, prev=entry.prev)
    event = codec.decode(entry)
    asked = event if isinstance(event, TenantRegistered | TenantRemoved) else None
    match = _COMMAND.match(asked.reason or "") if asked else None
    return Logged(
        position=entry.position,
        prev=entry.prev,
        tenant=tenant.tenant,
        version=tenant.version,
        alive=isinstance(tenant, Live),
        value=tenant.config.database if isinstance(tenant, Live) else None,
        command=int(match[1]) if match else None,
        command_id=asked.command_id if asked else None,
    )


def _listed(replica: Replica) -> dict[str, tuple[int, str]]:
    outcome = _call(replica, "list_tenants", {"limit": 1000})
    if not isinstance(outcome, Ok):
        return {"(nothing)": (0, str(outcome))}
    return {line["tenant_id"]: (line["version"], line["database"]) for line in outcome.answer["tenants"]}


def _call(replica: Replica, tool: str, arguments: dict[str, Any]) -> Outcome:
    """Call a tool, again for a while where the answer says that this may help: a replica may just have woken."""
    deadline = time.monotonic() + _ANSWERS_WITHIN
    while isinstance(outcome := call(replica.process, tool, arguments), Unknown) and time.monotonic() < deadline:
        time.sleep(0.1)
    return outcome


def _looked_at(replica: Replica) -> dict[str, tuple[int, str]]:
    outcomes = {tenant: _call(replica, "get_tenant", {"tenant_id": tenant}) for tenant in TENANTS}
    return {
        tenant: (outcome.answer["version"], outcome.answer["database"])
        for tenant, outcome in outcomes.items()
        if isinstance(outcome, Ok)
    }


def _heads(client: "redis.Redis", directory: Directory) -> dict[str, tuple[int, str]]:
    """Return the live heads; a head has no value, so the fold's is taken where all else agrees."""
    seen = {}
    for name, raw in _hash(client, _NAMES.heads).items():
        head, tenant = codec.decode_head(raw), directory.tenant(name)
        if head.alive or isinstance(tenant, Live):
            agrees = tenant is not None and (head.position, head.alive) == (tenant.position, isinstance(tenant, Live))
            seen[name] = (head.version, _value(tenant) if agrees else f"another head: {raw.decode()}")
    return seen


def _keys(client: "redis.Redis") -> dict[str, tuple[int, str]]:
    seen = {}
    for key in client.scan_iter(_NAMES.tenant("*")):
        document = msgspec.json.decode(client.get(key) or b"{}", type=codec.TenantDocument)
        seen[key.decode().removeprefix(_NAMES.tenant(""))] = (document.version, document.database)
    return seen


def _passwords(client: "redis.Redis", directory: Directory, key_file: Path) -> dict[str, tuple[int, str]]:
    """Open each live tenant's password as a pool would; its value is told if it is the one registered with it."""
    master, keys, seen = load_master_keys(key_file), _hash(client, _NAMES.data_keys), {}
    for tenant in directory.live():
        wrapped = keys.pop(tenant.tenant, b"")
        seen[tenant.tenant] = (tenant.version, _value_of_password(master, tenant, wrapped.decode()))
    return seen | dict.fromkeys(keys, (0, "a data key of a removed tenant"))


def _value_of_password(master: MasterKeys, tenant: Live, wrapped: str) -> str:
    assert tenant.secret is not None
    try:
        opened = now(master.unwrap(tenant.tenant, wrapped)).open(tenant.tenant, tenant.config.login, tenant.secret)
    except TenancyError as error:
        return error.message
    value = tenant.config.database
    return value if opened.reveal() == password_of(value) else "another password"


def _hash(client: "redis.Redis", name: str) -> dict[str, bytes]:
    fields: dict[bytes, bytes] = msgspec.convert(client.hgetall(name), dict[bytes, bytes])
    return {field.decode(): value for field, value in fields.items()}


def _value(tenant: Tenant | None) -> str:
    return tenant.config.database if isinstance(tenant, Live) else ""
