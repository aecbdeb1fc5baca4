"""Heads and tenants' keys made equal to the log, by an operator's word and without losing what the log says no more."""

from collections.abc import Sequence
from typing import Final

import msgspec

from projections.inspection import Inspected
from projections.pages import in_pages
from projections.tenant_keys import TenantKeys, differs
from registry.entries import UNKNOWN, AsOf, Epoch
from registry.errors import CorruptEntry
from registry.log import TenantLog
from registry.state import Live, Removed
from registry.stored import head_of, is_head_of

_PAGE: Final = 500
_DAMAGE: Final = frozenset({"envelope", "transition", "signature", "link"})
"""Kinds of findings after which the log's word is not taken."""


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """Whose heads and keys were not as the log says, and whose fence kept a key from being written."""

    heads: list[str]
    keys: list[str]
    fences: list[str]
    epoch: bool


class Mender:
    """Makes heads and keys equal to what an inspection has found to be true.

    Args:
        log, keys: What is mended.
    """

    def __init__(self, log: TenantLog, keys: TenantKeys) -> None:
        self._log = log
        self._keys = keys

    async def mend(self, inspected: Inspected, *, dry_run: bool) -> Mended:
        """Mend what differs and return it; with `dry_run`, return what would be mended.

        What nothing says is left as it is. Raises `CorruptEntry` if the log is not to be believed, and
        `RegistryUnavailable`. May be cancelled and repeated.
        """
        damage = next((finding for finding in inspected.findings if finding.kind in _DAMAGE), None)
        if damage:
            raise CorruptEntry(
                f"The log itself is not as it was written ({damage}), and heads and keys may say better than it: "
                "nothing was changed."
            )
        tenants = [truth.tenant for truth in inspected.truths.values()]
        known = [tenant for tenant in tenants if isinstance(tenant, Live | Removed)]
        epoch = _unnoted(inspected)
        if epoch and not dry_run:
            await self._log.mark_epoch(epoch)
        as_of = AsOf(inspected.snapshot.epoch or epoch or UNKNOWN, inspected.snapshot.end)
        heads, keys, fences = list[str](), list[str](), list[str]()
        for page in in_pages(known, _PAGE):
            heads += await self._heads(page, inspected, dry_run=dry_run)
            fences += await self._fences(page, as_of, dry_run=dry_run)
            keys += await self._documents(page, as_of, dry_run=dry_run)
        return Mended(heads=heads, keys=keys, fences=fences, epoch=epoch is not None)

    async def _heads(self, page: Sequence[Live | Removed], inspected: Inspected, *, dry_run: bool) -> list[str]:
        read = inspected.snapshot.read_heads()
        wrong = [tenant for tenant in page if not is_head_of(tenant, read.get(tenant.tenant))]
        if dry_run:
            return [tenant.tenant for tenant in wrong]
        end = inspected.snapshot.end
        return [each.tenant for each in wrong if await self._log.mend_head(each.tenant, head_of(each), end)]

    async def _fences(self, page: Sequence[Live | Removed], as_of: AsOf, *, dry_run: bool) -> list[str]:
        if not as_of.epoch.is_known:
            return []
        false = await self._keys.false_fences(page, as_of)
        return [tenant.tenant for tenant, _ in false] if dry_run else await self._keys.unfence(false)

    async def _documents(self, page: Sequence[Live | Removed], as_of: AsOf, *, dry_run: bool) -> list[str]:
        if not dry_run:
            return await self._keys.repair(page, as_of)
        found = await self._keys.documents([tenant.tenant for tenant in page])
        return [each.tenant for each, text in zip(page, found, strict=True) if differs(each, text)]


def _unnoted(inspected: Inspected) -> Epoch | None:
    """Return the log's epoch if nothing notes it and the log tells for certain."""
    told = inspected.verifier.epoch
    is_certain = told is not None and told.is_known and inspected.verifier.is_whole
    return told if is_certain and inspected.snapshot.epoch is None else None
