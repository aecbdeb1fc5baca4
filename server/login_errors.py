"""What a failed login is called, and what to do about it.

Rules: pure. Neither the password is told, nor an address that a name led to.
"""

import socket
import ssl

import asyncpg

from registry.errors import LoginRefused, TenancyError, TenantUnreachable
from registry.events import TenantConfig
from server.sqlstates import reason_of, sqlstate_of
from server.wire import Elsewhere, NotPostgres, Unencrypted


def login_error(  # noqa: C901, PLR0911 - one return a cause: this is the one place that tells them apart
    tenant_id: str, config: TenantConfig, error: Exception
) -> TenancyError:
    """Say why a login failed and what to do; what the database may get over by itself is worth another try."""
    where = f"{config.host}:{config.port}"
    whose = f"tenant {tenant_id!r}"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return LoginRefused(
                f"{where} refuses the login of {whose} as user {config.user!r}: {reason_of(error)}. "
                "Check user, password and the server's pg_hba.conf.",
                sqlstate=sqlstate_of(error),
            )
        case asyncpg.InvalidCatalogNameError():
            return LoginRefused(
                f"{where} has no database {config.database!r} for {whose}; check its name.", sqlstate=sqlstate_of(error)
            )
        case asyncpg.InsufficientPrivilegeError():
            return LoginRefused(
                f"User {config.user!r} may not connect to {config.database!r} at {where}: {reason_of(error)}. "
                "Grant it CONNECT there, or register another user.",
                sqlstate=sqlstate_of(error),
            )
        case asyncpg.PostgresError():
            return TenantUnreachable(
                f"{where} does not let {whose} in now: {reason_of(error)}; try again later.",
                sqlstate=sqlstate_of(error),
            )
        case TimeoutError():
            return TenantUnreachable(f"{where} of {whose} did not answer in time; check host, port and firewalls.")
        case socket.gaierror():
            return TenantUnreachable(f"The host name {config.host!r} of {whose} is not known; check its spelling.")
        case ssl.SSLError():
            why = error.reason or "handshake"
            return LoginRefused(f"TLS with {where} of {whose} failed ({why}); check ssl={config.ssl}.")
        case ConnectionRefusedError():
            return TenantUnreachable(f"Nothing listens on {where} of {whose}; check host and port, or start it.")
        case NotPostgres():
            return TenantUnreachable(
                f"{where} of {whose} does not speak Postgres's protocol; check host and port, and what is between."
            )
        case Elsewhere():
            return TenantUnreachable(f"What answers for {where} of {whose} is something else; try again later.")
        case Unencrypted():
            return LoginRefused(
                f"{where} of {whose} offers no TLS, and ssl={config.ssl} asks for it; turn it on there."
            )
        case _:
            why = type(error).__name__
            return TenantUnreachable(f"{where} of {whose} cannot be reached ({why}); try again later.")
