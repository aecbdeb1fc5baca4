"""The tools of a replica, over its parts."""

from server.audit import Audit
from server.bounds import limits_of, rates_of
from server.confirmation import Policy
from server.database_tools import DatabaseTools
from server.parts import Parts
from server.rates import CallRates
from server.settings import Settings
from server.sight import Sight
from server.sql_guard import Guard
from server.status_tools import StatusTools
from server.tenant_tools import TenantTools
from server.tool_tally import ToolTally
from server.toolbox import Toolbox
from server.write_tools import WriteTools
from server.writes import WriteLimits


def toolbox_of(parts: Parts, settings: Settings, sight: Sight, audit: Audit, tally: ToolTally) -> Toolbox:
    """Return the toolbox with all of the tools, in the order in which clients are shown them.

    Args:
        parts: What they work with.
        settings: What they may do.
        sight: What tenants a caller sees.
        audit: Where writes are put down.
        tally: Where calls are counted.
    """
    rates = rates_of(settings)
    return Toolbox.of(
        _tenant_tools(parts, settings, sight),
        StatusTools(follower=parts.follower, directory=parts.directory, presence=parts.presence),
        _database_tools(parts, settings, sight, rates),
        _write_tools(parts, settings, sight, rates, audit),
        observe=tally.note,
        admit=rates.count_caller,
    )


def _tenant_tools(parts: Parts, settings: Settings, sight: Sight) -> TenantTools:
    return TenantTools(
        registry=parts.registry,
        sight=sight,
        log=parts.store.log,
        pools=parts.databases.pools,
        secret_files=parts.databases.secret_files,
        dialler=parts.databases.dialler,
        confirmer=parts.presence,
        removal_wait=settings.removal_wait,
    )


def _database_tools(parts: Parts, settings: Settings, sight: Sight, rates: CallRates) -> DatabaseTools:
    return DatabaseTools(
        follower=parts.follower,
        sight=sight,
        pools=parts.databases.pools,
        limits=limits_of(settings),
        guard=Guard(strict=settings.strict_reads),
        rates=rates,
    )


def _write_tools(parts: Parts, settings: Settings, sight: Sight, rates: CallRates, audit: Audit) -> WriteTools:
    return WriteTools(
        follower=parts.follower,
        sight=sight,
        pools=parts.databases.pools,
        limits=WriteLimits(each=limits_of(settings), whole=settings.write_timeout),
        rates=rates,
        audit=audit,
        confirm=Policy(settings.confirm_writes),
    )
