"""The real tools, over nothing: good for looking at, and for arguments that are refused before anything is asked."""

from typing import Any, Final, cast

from server.database_tools import DatabaseTools
from server.reads import ReadLimits
from server.secret_files import SecretFiles
from server.sql_guard import Guard
from server.status_tools import StatusTools
from server.tenant_tools import TenantTools
from server.toolbox import Toolbox
from server.write_tools import WriteTools
from tests.rates import unlimited

NOBODY: Final = cast("Any", None)
TOOLBOX: Final = Toolbox.of(
    TenantTools(
        registry=NOBODY,
        sight=NOBODY,
        log=NOBODY,
        pools=NOBODY,
        secret_files=SecretFiles(None, None),
        dialler=NOBODY,
        confirmer=NOBODY,
        removal_wait=1,
    ),
    StatusTools(follower=NOBODY, directory=NOBODY, presence=NOBODY),
    DatabaseTools(
        follower=NOBODY,
        sight=NOBODY,
        pools=NOBODY,
        limits=ReadLimits(max_rows=1, max_bytes=1, statement_timeout=1, lock_timeout=1),
        guard=Guard(),
        rates=unlimited(),
    ),
    WriteTools(follower=NOBODY, sight=NOBODY, pools=NOBODY, limits=NOBODY, rates=unlimited(), audit=NOBODY),
)
