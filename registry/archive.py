"""What the commands on the whole log need of Redis besides the log: everything at one instant, and putting it back."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from registry import codec
from registry.adoption import tenant_keys
from registry.entries import Entry, Epoch, Head, Position, Unreadable
from registry.errors import LogDiverged
from registry.names import Names
from registry.redis_client import RedisClient, Script, Word
from registry.redis_log import end_of, epoch_of

_TRIM: Final = Script("registry", "trim.lua")
_SETTLE: Final = Script("registry", "settle_import.lua")
_LIFE: Final = 3600
"""Seconds that an import that was cut short stays in Redis."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The log's end and everything beside it as of one instant, as Redis keeps it.

    Attributes:
        end: The log's last entry.
        length: How many entries there are.
        epoch: Which log it is; None where nothing that can be read says so.
        heads: By tenant, unread.
        data_keys: By tenant, wrapped.
    """

    end: Position
    length: int
    epoch: Epoch | None
    heads: dict[str, bytes]
    data_keys: dict[str, str]

    def read_heads(self) -> dict[str, Head | Unreadable]:
        """Return what the heads tell."""
        return {tenant: codec.read_head(raw) for tenant, raw in self.heads.items()}


class Archive:
    """One log's keys in Redis, as a whole. Every method raises `RegistryUnavailable` and may be cancelled.

    Args:
        redis: A client whose timeout leaves Redis time for 100,000 tenants at once.
        names: What the keys are called.
    """

    def __init__(self, redis: RedisClient, names: Names) -> None:
        self._redis = redis
        self._names = names

    async def snapshot(self) -> Snapshot:
        """Return everything but the entries and the tenants' keys. Raises `LogDiverged` if there is no log."""
        names = self._names
        if not await self._redis.run("EXISTS", names.stream):
            raise LogDiverged(f"There is no log {names.stream} in this Redis.")
        info, epoch, heads, data_keys = await self._redis.atomically(
            [
                ("XINFO STREAM", names.stream),
                ("GET", names.epoch),
                ("HGETALL", names.heads),
                ("HGETALL", names.data_keys),
            ]
        )
        return Snapshot(
            end=end_of(info),
            length=int(info["length"]),
            epoch=epoch_of(epoch),
            heads={tenant.decode(errors="replace"): raw for tenant, raw in _items(heads)},
            data_keys={
                tenant.decode(errors="replace"): raw.decode(errors="replace") for tenant, raw in _items(data_keys)
            },
        )

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return what stands as each tenant's head, in order, unread."""
        found: list[bytes | None] = await self._redis.run("HMGET", self._names.heads, *tenants) if tenants else []
        return found

    async def fences(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return each tenant's fence, in order."""
        return await self._redis.get_many([self._names.fence(tenant) for tenant in tenants])

    def tenant_keys(self) -> AsyncIterator[str]:
        """Yield whose keys there are, some perhaps twice."""
        return tenant_keys(self._redis, self._names)

    async def now(self) -> int:
        """Return Redis's clock, which the entries' ids are made of, in milliseconds."""
        seconds, microseconds = await self._redis.run("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def require_trim(self) -> None:
        """Raise `RegistryUnavailable` if this Redis user may not take entries out; takes none."""
        await self._redis.run("XTRIM", self._names.stream, "MINID", "=", "0-0")

    async def trim(self, first: Position, looked_up_to: Position) -> int | None:
        """Take out the entries before `first`; return how many, or None if the log does not hold both places."""
        words: list[Word] = [first.entry, first.seq, looked_up_to.entry, looked_up_to.seq]
        taken = int(await self._redis.script(_TRIM, [self._names.stream], words))
        return None if taken < 0 else taken

    async def occupied(self) -> list[str]:
        """Return the names of keys that are in the way of an import, a few at most."""
        names = self._names
        of_log = [names.stream, names.heads, names.data_keys, names.epoch]
        found = [name for name in of_log if await self._redis.run("EXISTS", name)]
        async for tenant in self.tenant_keys():
            found.append(names.tenant(tenant))
            break
        return found

    def importing(self, token: str) -> "Import":
        """Return an import under way; `token` tells it from others."""
        return Import(self._redis, self._names, token)


class Import:
    """A log that is being put into Redis, under names of its own until all is there.

    Every method raises `RegistryUnavailable`. What an import that was cut short has left goes within an hour.
    """

    def __init__(self, redis: RedisClient, names: Names, token: str) -> None:
        self._redis = redis
        self._names = names
        self._apart = [f"{{{names.stream}}}:import:{token}:{what}" for what in ("stream", "heads", "keys")]

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Add entries, oldest first, under the ids and with the links that they have."""
        stream = self._apart[0]
        await self._add(stream, [("XADD", stream, entry.position.entry, *_fields(entry)) for entry in entries])

    async def add_heads(self, heads: Sequence[tuple[str, str]]) -> None:
        """Add tenants' heads."""
        await self._add(self._apart[1], [("HSET", self._apart[1], tenant, head) for tenant, head in heads])

    async def add_data_keys(self, data_keys: Sequence[tuple[str, str]]) -> None:
        """Add tenants' wrapped data keys."""
        await self._add(self._apart[2], [("HSET", self._apart[2], tenant, key) for tenant, key in data_keys])

    async def settle(self, end: Position, epoch: Epoch) -> bool:
        """Make it the log, if there is none; return whether that was done. The next entry comes after `end`."""
        await self._redis.run("XSETID", self._apart[0], end.entry, "ENTRIESADDED", end.seq)
        names = self._names
        keys = [names.stream, names.heads, names.data_keys, names.epoch, *self._apart]
        return bool(await self._redis.script(_SETTLE, keys, [str(epoch)]))

    async def give_up(self) -> None:
        """Take away what was added."""
        await self._redis.run("DEL", *self._apart)

    async def _add(self, key: str, commands: list[tuple[Word, ...]]) -> None:
        if commands:
            await self._redis.pipeline([*commands, ("EXPIRE", key, _LIFE)])


def _fields(entry: Entry) -> tuple[Word, ...]:
    return ("type", entry.type, "seq", entry.position.seq, "prev", entry.prev, "data", entry.data)


def _items(raw: Any) -> Sequence[tuple[bytes, bytes]]:  # noqa: ANN401 - the reply as the library parses it
    return list(raw.items())
