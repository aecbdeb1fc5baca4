"""An operator at the command line, beside replicas that go one step at a time: compacts the log, and verifies it."""

from collections.abc import Callable, Mapping

from projections.compaction import Compactor
from projections.inspection import Inspected, Inspector
from projections.phase import STUCK, Phase
from projections.tenant_keys import TenantKeys
from registry.archive import Archive
from registry.entries import Position
from registry.redis_log import RedisLog
from registry.signing import Signer
from tests.faults.stepped import MASTER, NAMES, FaultyRedis, Replica, Surroundings


class Operator:
    """Somebody whose process may end at any call of Redis, as a replica's may.

    `replicas` are those that the operator sees; what each tells of itself is what `server/parts.py` lets it tell.
    """

    def __init__(self, world: Surroundings, replicas: Callable[[], list[Replica]]) -> None:
        self.redis = FaultyRedis.from_url(world.url, connections=4)
        self._replicas = replicas
        self._log, self._archive = RedisLog(self.redis, self.redis, NAMES), Archive(self.redis, NAMES)
        self._compactor = Compactor(
            self._log, self._archive, self, signer=Signer(), actor="operator", now=world.now, new_id=world.new_id
        )

    async def applied(self) -> Mapping[str, Position | None]:
        return {replica.name: applied_by(replica) for replica in self._replicas()}

    async def verify(self) -> Inspected:
        keys = TenantKeys(self.redis, NAMES)
        return await Inspector(self._log, self._archive, keys, master=MASTER).inspect()

    async def compact(self, before: Position) -> int:
        """Take out the entries before a place; return how many."""
        plan = await self._compactor.plan(await self.verify(), before)
        return await self._compactor.compact(plan) if plan else 0

    async def end(self) -> None:
        await self.redis.close()


def applied_by(replica: Replica) -> Position | None:
    """Return how far a replica says it is in the log as it is; None where it knows that it follows another one."""
    strays = replica.follower.status.phase in {*STUCK, Phase.RESTORING}
    return None if strays else replica.directory.position
