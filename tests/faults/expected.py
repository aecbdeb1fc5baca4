"""What must become of each tenant, in plain words: no code of the product decides anything here.

A state is known by its tenant and the moment at which it was commanded; the clock of the tests gives no moment twice.
However often a state is said again, that moment stays.
"""

from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime
from typing import NamedTuple, TypeAlias

from registry import codec
from registry.entries import Foreign, Position
from registry.events import LogCompacted, LogCreated, LogRestored, TenantConfig, TenantEvent, TenantRemoved
from registry.state import Live, Quarantined, Tenant
from tests.folding import entry_of


class State(NamedTuple):
    """What one command made of a tenant: live since `born` with a configuration, or removed."""

    moment: datetime
    born: datetime | None
    config: TenantConfig | None


Known: TypeAlias = dict[str, set[State]]


class Story:
    """Every state that was ever commanded, and which of them callers were told of and the log should still have."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, datetime], State] = {}
        self.acknowledged: Known = defaultdict(set)
        self._saved: Known = defaultdict(set)

    def commanded(self, event: TenantEvent, on: Tenant | None) -> None:
        """Note what is about to be appended, decided on the tenant as its writer has it."""
        place = (event.tenant, event.time)
        if place in self._states:
            return
        if isinstance(event, TenantRemoved) or event.config is None:
            self._states[place] = State(event.time, None, None)
            return
        before = self.state(on) if isinstance(on, Live) else None
        self._states[place] = State(event.time, (before and before.born) or event.time, event.config)

    def state(self, tenant: Tenant) -> State:
        """Return the state that the tenant is in; it must be one that was commanded."""
        assert not isinstance(tenant, Quarantined)
        return self.of(tenant.tenant, tenant.changed_at)

    def of(self, tenant: str, moment: datetime) -> State:
        assert (tenant, moment) in self._states, f"nobody ever commanded this of {tenant}: {moment}"
        return self._states[tenant, moment]

    def acknowledge(self, event: TenantEvent) -> None:
        self.acknowledged[event.tenant].add(self.of(event.tenant, event.time))

    def save(self) -> None:
        self._saved = deepcopy(self.acknowledged)

    def fall_back(self) -> None:
        self.acknowledged = deepcopy(self._saved)

    def forget_all_but(self, recoverable: Known) -> None:
        """Take it that the log, damaged on purpose, knows no more than this."""
        self.acknowledged = defaultdict(set, {name: set(states) for name, states in recoverable.items()})


def prevailing(states: Iterable[State]) -> State | None:
    """Return the state that a tenant must be in when all of these are known of it: the later life prevails.

    A removal ends every life that began before it, however late that one was changed by who did not know; what was
    commanded after a removal began a life of its own.
    """
    return max(states, key=lambda state: (state.born or state.moment, state.born is None, state.moment), default=None)


def states_in(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[tuple[Position, TenantEvent]]:
    """Return the tenants' events among the entries of a stream, as far as they can be read."""
    told = []
    for raw, fields in entries:
        entry = entry_of(raw, fields)
        assert not isinstance(entry, Foreign)
        if entry.type.count(".") > 1:  # of a later minor
            continue
        event = codec.decode(entry)
        if not isinstance(event, LogCreated | LogRestored | LogCompacted):
            told.append((entry.position, event))
    return told
