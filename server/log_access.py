"""What the commands on the whole log work on: the log that the settings name, or the one of an embedded Valkey."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from projections.inspection import Inspector
from projections.tenant_keys import TenantKeys
from registry.archive import Archive
from registry.log import TenantLog
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys
from registry.signing import Signer
from server.backing import backing_of, master_of, signer_of
from server.redis_check import RedisCheck
from server.settings import Settings

_TIMEOUT: Final = 30.0
"""Seconds for one reply: 100,000 heads at once, or a million entries taken out, take Redis a moment."""


class LogAccess(msgspec.Struct, frozen=True, kw_only=True):
    """One log and everything beside it.

    Attributes:
        log, archive, redis, names: Where it is.
        signer: Checks signatures; without keys where none is named.
        master: Opens data keys; None where no key file is named, which most of the work does not need.
        check: Refuses a Redis that would lose a log; for who is about to write one.
    """

    log: TenantLog
    archive: Archive
    redis: RedisClient
    names: Names
    signer: Signer
    master: MasterKeys | None
    check: RedisCheck

    @property
    def keys(self) -> TenantKeys:
        """The tenants' keys."""
        return TenantKeys(self.redis, self.names)

    def inspector(self, signed_since: int = 0) -> Inspector:
        """Return what looks through the log."""
        return Inspector(
            self.log,
            self.archive,
            self.keys,
            signer=self.signer,
            master=self.master,
            signed_since=signed_since,
        )


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[LogAccess]:
    """Hold the log that the settings name. Raises `StartError` if it cannot be had."""
    names, signer = Names(settings.prefix), signer_of(settings)
    async with _backing(settings) as (url, master):
        redis = RedisClient.from_url(url, timeout=_TIMEOUT)
        tail = RedisClient.from_url(url, connections=1, timeout=_TIMEOUT)
        try:
            yield LogAccess(
                log=RedisLog(redis, tail, names),
                archive=Archive(redis, names),
                redis=redis,
                names=names,
                signer=signer,
                master=master,
                check=RedisCheck(redis, allow_unsafe=settings.allow_unsafe_redis),
            )
        finally:
            await tail.close()
            await redis.close()


@asynccontextmanager
async def _backing(settings: Settings) -> AsyncIterator[tuple[str, MasterKeys | None]]:
    if settings.redis_url is not None:
        yield settings.redis_url, master_of(settings)
        return
    async with backing_of(settings, join=True) as backing:
        yield backing.redis_url, backing.master
