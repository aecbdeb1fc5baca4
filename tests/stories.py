"""Logs as the system writes them, event by event, and what is kept beside them, for whoever verifies them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from registry import codec, decide
from registry.entries import START, Entry, Epoch, Position
from registry.errors import SecretUnreadable
from registry.events import (
    Event,
    LogCompacted,
    LogCreated,
    TenantConfig,
    TenantEvent,
    TenantRegistered,
    TenantRestated,
)
from registry.secrets import DataKey, MasterKeys, Secret, new_master_key
from registry.signing import Signer
from registry.state import Live, Removed, Tenant, evolve
from registry.stored import document_of, head_of
from registry.verify import Finding, Verifier
from registry.verify_kept import Kept
from tests.waiting import now

TIME: Final = datetime(2026, 11, 22, tzinfo=UTC)

KEYS: Final = [("one", b"1" * 32)]

MASTER: Final = MasterKeys.parse(new_master_key("one"))

CONFIG: Final = TenantConfig(host="db", database="app", user="reader")


class Story:
    """A log as the system writes it, event by event, and what is kept beside it."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer(KEYS)
        self.entries: list[Entry] = []
        self.tenants: dict[str, Tenant] = {}
        self.data_keys: dict[str, str] = {}
        self.log(LogCreated(event_id="birth", time=TIME, actor="registry", epoch="first"))
        self.epoch = Epoch("first", "1-0", "1-0")

    @property
    def end(self) -> Position:
        return self.entries[-1].position if self.entries else START

    def log(self, event: Event) -> Position:
        if not isinstance(event, TenantEvent):
            event = self.signer.sign(event)
        seq = self.end.seq + 1
        place, prev = Position(seq, f"{seq}-0"), f"{seq - 1}-0"
        self.entries.append(Entry(place, prev, codec.type_of(event), codec.encode(event)))
        return place

    def register(self, tenant: str, host: str = "db") -> None:
        self.tell(self.registration(tenant, host), self.tenants.get(tenant))

    def registration(self, tenant: str, host: str) -> TenantRegistered:
        before = self.tenants.get(tenant)
        key, wrapped = now(MASTER.new_data_key(tenant))
        self.data_keys[tenant] = wrapped
        config = msgspec.structs.replace(CONFIG, host=host)
        secret = key.seal(tenant, decide.next_version(before), config.login, Secret("s3cret"))
        return decide.register(tenant, before, config, secret, self.origin())

    def remove(self, tenant: str) -> None:
        before = self.tenants[tenant]
        del self.data_keys[tenant]
        self.tell(decide.remove(tenant, before, self.origin()), before)

    def restate(self, tenant: str, version: int) -> None:
        event = TenantRestated(
            event_id=f"lost-{version}",
            time=TIME,
            actor="ann",
            tenant=tenant,
            version=version,
            command_id="c",
            digest="d",
            previous=self.tenants[tenant].position.entry if tenant in self.tenants else None,
            born=TIME,
            config=CONFIG,
        )
        self.data_keys.pop(tenant, None)
        self.tell(event, self.tenants.get(tenant))

    def tell(self, event: Any, before: Tenant | None) -> None:  # noqa: ANN401 - any tenant's event
        signed = self.signer.sign(event, before)
        self.tenants[signed.tenant] = evolve(before, signed, self.log(signed))

    def compact(self, first: int, epoch: str | msgspec.UnsetType = msgspec.UNSET) -> None:
        before, tenants = str(self.entries[first - 1].position), len(self.tenants)
        self.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before=before, tenants=tenants, epoch=epoch))
        self.entries = [entry for entry in self.entries if entry.position.seq >= first]

    def origin(self) -> decide.Origin:
        number = self.end.seq
        return decide.Origin(
            actor="ann",
            reason=f"reason {number}",
            time=TIME + timedelta(seconds=number),
            event_id=f"event-{number}",
            command_id=f"command-{number}",
            digest="one:0d",
        )

    def kept(self, name: str) -> Kept:
        tenant = self.tenants[name]
        assert isinstance(tenant, Live | Removed)
        return Kept(
            head=head_of(tenant),
            document=document_of(tenant) if isinstance(tenant, Live) else None,
            fence=f"{self.epoch.opened}|{tenant.position.seq}".encode(),
            data_key=self.data_keys.get(name),
        )


def three_tenants() -> Story:
    """Tell of three tenants: one replaced twice, one removed and registered again, one removed."""
    story = Story()
    for tenant in ("acme", "beta", "gone"):
        story.register(tenant)
    story.register("acme", "db2")
    story.remove("beta")
    story.remove("gone")
    story.register("beta")
    story.register("acme", "db3")
    return story


def verified(story: Story, signer: Signer | None = None, *, end: Position | None = None, since: int = 0) -> Verifier:
    verifier = Verifier(signer or Signer(KEYS), since)
    for entry in story.entries:
        verifier.entry(entry)
    verifier.finish(end or story.end)
    return verifier


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def changed(story: Story, number: int, **fields: object) -> None:
    """Change fields of one entry's body, its type staying."""
    entry = next(each for each in story.entries if each.position.seq == number)
    body = {**msgspec.json.decode(entry.data), **fields}
    story.entries[story.entries.index(entry)] = msgspec.structs.replace(entry, data=msgspec.json.encode(body))


def opened(master: MasterKeys, tenant: str, kept: Kept) -> DataKey | SecretUnreadable | None:
    """Return the tenant's data key, or why it does not open, as whoever looks through a log hands it in."""
    if kept.data_key is None:
        return None
    try:
        return now(master.unwrap(tenant, kept.data_key))
    except SecretUnreadable as error:
        return error
