"""`mcp-postgres run`: everything on this machine, with a sample database as tenant `demo`."""

import json
from typing import Any, Final

from registry.names import Names
from server.backing import Backing, backed, embedded_master
from server.embedded.base import together
from server.embedded.errors import EmbeddedUnavailable
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin, ensure_sample
from server.embedded.valkey import EmbeddedValkey
from server.errors import StartError
from server.first_read import first_read
from server.principal import Principal
from server.replica import Replica, open_replica
from server.serving import serve_http
from server.settings import Settings
from server.toolbox import Call
from server.workers import run_workers

DEMO: Final = "demo"
_PATIENCE: Final = 10.0
"""Seconds that our own Valkey may take to answer."""


async def run_demo(settings: Settings) -> None:
    """Run a server over embedded ones until a signal. Raises `StartError`."""
    # Before Valkey starts: what it leaves behind tells that a key was used.
    master = embedded_master(settings)
    valkey, postgres = EmbeddedValkey(settings.data_dir), EmbeddedPostgres(settings.data_dir)
    try:
        async with together(valkey, postgres):
            sample = await ensure_sample(postgres)
            async with open_replica(settings, valkey.url, master) as replica:
                await _register(replica, sample)
                tenants = replica.follower.status.tenants
                if settings.workers == 1:
                    await serve_http(replica, settings, lambda base: _announce(base, settings, valkey, tenants))
                    return
            own = backed(settings, Backing(valkey.url, master))
            await run_workers(own, lambda base: _announce(base, settings, valkey, tenants))
    except EmbeddedUnavailable as error:
        raise StartError(str(error)) from None


async def _register(replica: Replica, sample: SampleLogin) -> None:
    """Register the sample, or find it registered: the same again changes nothing."""
    status = await first_read(replica.follower, _PATIENCE)
    if not status.ready:
        raise StartError(f"The registry cannot be read. {status.reason or 'Valkey does not answer.'}")
    arguments: dict[str, Any] = {
        "tenant_id": DEMO,
        "host": sample.host,
        "port": sample.port,
        "database": sample.database,
        "user": sample.user,
        "password": sample.password,
        "ssl": "disable",
        "reason": "the sample of mcp-postgres run",
    }
    answer = await replica.toolbox.call("register_tenant", arguments, Call(principal=Principal("mcp-postgres run")))
    if answer.is_error:
        raise StartError(f"The sample tenant cannot be registered: {json.loads(answer.payload)['error']['message']}")


async def _announce(base: str, settings: Settings, valkey: EmbeddedValkey, tenants: int) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "list_tables", "arguments": {"tenant_id": DEMO}},
    }
    pattern = Names(settings.prefix).tenant("*")
    bearer = ' -H "Authorization: Bearer $TOKEN"' if settings.tokens_file or settings.oauth_issuer else ""
    lines = (
        f"mcp-postgres serves {tenants} tenant(s) over an embedded Valkey and Postgres.",
        "",
        "  Try it:",
        f"    curl {base}{settings.path} -X POST -H 'Content-Type: application/json'{bearer} -d '{json.dumps(call)}'",
        "",
        f"  MCP URL for clients:  {base}{settings.path}",
        f"  Tenants in Redis:     redis-cli -s {valkey.url.removeprefix('unix://')} --scan --pattern '{pattern}'",
        f"  Data and key:         {settings.data_dir.resolve()}",
        "  Stop:                 Ctrl-C (start again and everything is as it was)",
        "",
    )
    print("\n".join(lines), flush=True)  # noqa: T201 - what the command is for
