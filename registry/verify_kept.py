"""Whether what is kept beside the log fits it: heads, data keys, tenants' keys and their fences, one tenant at a time.

Rules: pure. The log is what counts; where its entries were taken out, head and document together are, if they fit.
"""

from typing import Final

import msgspec

from registry.entries import AsOf, Epoch, Head, Position, Unreadable
from registry.errors import SecretUnreadable
from registry.fences import is_false
from registry.secrets import DataKey, data_key_id
from registry.state import Live, Quarantined, Removed, Tenant
from registry.stored import document_of, is_head_of, tenant_of
from registry.verify import Finding, Verifier

_NOTED: Final = "a running replica notes it within half a minute"
_REBUILD: Final = "log rebuild-keys puts it right"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis keeps of one tenant beside the log; None for what is not there."""

    head: Head | Unreadable | None = None
    document: bytes | None = None
    fence: bytes | None = None
    data_key: str | None = None


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant is, by everything there is to be read.

    Attributes:
        tenant: None if nothing that can be believed says so.
        by_head: Head and key alone say it: the entries were taken out of the log.
        lost: Why nothing says what the tenant is, though something of it is left.
    """

    tenant: Tenant | None
    by_head: bool = False
    lost: str | None = None


def truth_of(verifier: Verifier, name: str, kept: Kept) -> Truth:
    """Return what the tenant is: by the log, and by head and document where the log has a gap."""
    told, head = verifier.tenants.get(name), kept.head
    if isinstance(head, Head) and verifier.beyond(head, told):
        tenant = tenant_of(name, head, kept.document)
        lost = "the entry that its head names was taken out of the log, and its key does not say what that said"
        return Truth(tenant=tenant, by_head=True, lost=None if tenant else lost)
    if told is not None and head is None and any(gap.before.seq > told.position.seq for gap in verifier.gaps):
        return Truth(tenant=None, lost="its head is missing, and entries behind the last one that tells of it are, too")
    if told is None and verifier.gaps and (kept.head or kept.document or kept.data_key):
        return Truth(tenant=None, lost="neither the log nor a head that fits says what it is")
    if isinstance(told, Live) and name in verifier.unborn and isinstance(head, Head):
        told = _born(told, head)
    return Truth(tenant=told)


def _born(told: Live, head: Head) -> Live:
    is_of_it = head.position == told.position and head.born
    return msgspec.structs.replace(told, born=head.born) if is_of_it else told


def check_kept(
    verifier: Verifier, name: str, kept: Kept, epoch: Epoch | None, opened: DataKey | SecretUnreadable | None = None
) -> tuple[Truth, list[Finding]]:
    """Return what the tenant is, and what does not fit that.

    Args:
        verifier: Has seen the whole log.
        name: The tenant.
        kept: What is kept of it.
        epoch: Of the log as it is noted.
        opened: The data key that is kept, or why it does not open; None where nobody tried.
    """
    truth = truth_of(verifier, name, kept)
    if truth.lost:
        advice = "register the tenant again, or put its head and key back from a backup"
        return truth, [_of("head", "tenant", name, truth.lost, advice)]
    if truth.tenant is None:
        return truth, _unknown(name, kept, epoch)
    found = [_head(truth.tenant, kept), _document(truth.tenant, kept), _data_key(truth.tenant, kept, opened)]
    found.append(_fence(truth.tenant, kept, epoch, verifier.position))
    return truth, [finding for finding in found if finding is not None]


def check_epoch(verifier: Verifier, epoch: Epoch | None) -> Finding | None:
    """Return what is wrong with what is noted about which log this is."""
    if epoch is None:
        what, advice = "nothing notes which log this is", f"{_NOTED}, and so does log rebuild-keys"
        return Finding(kind="epoch", where="the epoch", what=what, advice=advice)
    known = verifier.epoch
    if known is None or known == epoch:
        return None
    is_whole = not verifier.gaps
    if not is_whole and (known.name, known.opened) == (epoch.name, epoch.opened):
        return None
    what = f"it is noted as {epoch.name} opened by {epoch.opened}, and the log says {known.name} by {known.opened}"
    advice = f"delete that key if the log is the right one: {_NOTED}"
    return Finding(kind="epoch", where="the epoch", what=what, advice=advice)


def _unknown(name: str, kept: Kept, epoch: Epoch | None) -> list[Finding]:
    found = []
    if kept.head is not None:
        what, advice = "the log does not tell of this tenant", "take the field away (HDEL) if nobody misses the tenant"
        if isinstance(kept.head, Head) and epoch is not None and epoch.is_orphan(kept.head):
            what = "an earlier log has left it, and this one does not tell of the tenant"
            advice = "start a replica, which says again what was lost, or take the field away (HDEL)"
        found.append(_of("head", "head", name, what, advice))
    if kept.document is not None:
        what, advice = "the log does not tell of this tenant", "a replica that starts adopts it or says why not"
        found.append(_of("tenant_key", "key", name, what, f"{advice}; delete the key if nobody misses the tenant"))
    if kept.data_key is not None:
        advice = "take the field away (HDEL) if nobody misses the tenant"
        found.append(_of("data_key", "data key", name, "the log does not tell of this tenant", advice))
    return found


def _head(tenant: Tenant, kept: Kept) -> Finding | None:
    name = tenant.tenant
    if isinstance(kept.head, Unreadable):
        return _of("head", "head", name, "it cannot be read", _REBUILD)
    if kept.head is None:
        return _of("head", "head", name, "it is missing", _REBUILD)
    place = tenant.position
    if kept.head.position == place if isinstance(tenant, Quarantined) else is_head_of(tenant, kept.head):
        return None
    what = f"it tells of {kept.head.position}, and the tenant's last event is {place}"
    if kept.head.position == place:
        what = f"it does not say what the tenant's last event, {place}, does"
    return _of("head", "head", name, what, _REBUILD)


def _document(tenant: Tenant, kept: Kept) -> Finding | None:
    name, mended = tenant.tenant, f"a running replica mends it within half a minute, or {_REBUILD}"
    match tenant:
        case Quarantined():
            return None
        case Removed():
            left = kept.document is not None
            return _of("tenant_key", "key", name, "it is there, and the tenant is removed", mended) if left else None
        case Live():
            if kept.document is None:
                return _of("tenant_key", "key", name, "it is missing", mended)
            edited = kept.document != document_of(tenant)
            return _of("tenant_key", "key", name, "it does not say what the log does", mended) if edited else None


def _fence(tenant: Tenant, kept: Kept, epoch: Epoch | None, end: Position) -> Finding | None:
    if epoch is None or not is_false(kept.fence, tenant, AsOf(epoch, end), end):
        return None
    told = (kept.fence or b"").decode(errors="replace")
    what = f"it is ahead of the log ({told}) and keeps the key from being written"
    return _of("fence", "fence", tenant.tenant, what, _REBUILD)


def _data_key(tenant: Tenant, kept: Kept, opened: DataKey | SecretUnreadable | None) -> Finding | None:
    name, wrapped = tenant.tenant, kept.data_key
    again = "put the field back from a backup, or register the tenant again; replicas that run may hold it: keep them"
    if isinstance(tenant, Removed):
        still = "the tenant is removed, and its data key is not destroyed"
        return _of("data_key", "data key", name, still, "take the field away (HDEL)") if wrapped is not None else None
    if not isinstance(tenant, Live) or (tenant.secret is None and wrapped is None):
        return None
    if wrapped is None:
        return _of("data_key", "data key", name, "it is missing: nobody can open the tenant's password", again)
    if tenant.secret is not None and data_key_id(wrapped) != tenant.secret.key:
        what = f"it is {data_key_id(wrapped) or 'unreadable'}, and {tenant.secret.key} sealed the tenant's password"
        return _of("data_key", "data key", name, what, again)
    problem = _problem(tenant, opened) if opened else None
    return _of("data_key", "data key", name, problem, again) if problem else None


def _problem(tenant: Live, opened: DataKey | SecretUnreadable) -> str | None:
    if isinstance(opened, SecretUnreadable):
        return opened.message.rstrip(".")
    try:
        if tenant.secret is not None:
            opened.open(tenant.tenant, tenant.config.login, tenant.secret)
    except SecretUnreadable as error:
        return error.message.rstrip(".")
    return None


def _of(kind: str, thing: str, name: str, what: str, advice: str) -> Finding:
    where = f"tenant {name!r}" if thing == "tenant" else f"{thing} of tenant {name!r}"
    return Finding(kind=kind, where=where, what=what, advice=advice)
