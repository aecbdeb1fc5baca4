"""A great many calls of one server, and what becomes of its memory: `make soak CALLS=1000000`.

A real `serve` over a Valkey and a Postgres of its own. Clients keep their connections and call as people and programs
do: mostly a small query, now and then each other tool, what goes through the SDK, and what is refused, which is where
leaks hide. Memory is what the kernel counts of all of the server's processes (PSS where it tells, so that what workers
share is counted once). Nothing is asserted: the table is to be read, and the last line says how much was added since
the first tenth, in which everything that is made on first use has been.
"""

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import uvloop

from server.embedded.base import together
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin, ensure_sample
from server.embedded.valkey import EmbeddedValkey
from tests.processes import Process, fields_of
from tests.security.doors import serving

_TENANTS: Final = 5
"""So few that their pools are soon as large as they become: a connection takes some 60 KiB."""
_LOOKS: Final = 20
"""Lines of the table."""
_SMALL: Final = 30
"""Small queries between two rounds of the rest."""
_RECONNECT: Final = 5_000
"""Calls after which a client connects anew: connections come and go, too."""


def tell(text: str) -> None:
    """Print one line."""
    print(text, flush=True)  # noqa: T201 - what it is for


def _call(tool: str, **arguments: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def bodies(tenants: Sequence[str]) -> list[bytes]:
    """Return one round of requests: small queries of every tenant, and among them everything else."""
    small = itertools.islice(
        itertools.cycle(_call("execute_query", tenant_id=t, query="SELECT 1") for t in tenants), 999
    )
    others = [
        *(_call("list_tables", tenant_id=each) for each in tenants[:5]),
        _call("list_schemas", tenant_id=tenants[0]),
        _call("describe_table", tenant_id=tenants[0], table="customers"),
        _call("execute_query", tenant_id=tenants[1], query="SELECT g, repeat('x', 50) FROM generate_series(1, 500) g"),
        _call("execute_query", tenant_id=tenants[2], query="SELECT $1::int + $2::int", params=[1, 2]),
        _call("execute_query", tenant_id=tenants[0], query="SELECT 1/0"),
        _call("execute_query", tenant_id=tenants[0], query="SELEC"),
        _call("execute_query", tenant_id=tenants[0], query="DROP TABLE customers"),
        _call("execute_query", tenant_id="nobody", query="SELECT 1"),
        _call("execute_query", tenant_id=tenants[0]),
        _call("list_tenants", limit=10),
        _call("get_tenant", tenant_id=tenants[0]),
        _call("tenant_history", tenant_id=tenants[0]),
        _call("registry_status"),
        _call("no_such_tool"),
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "method": "no/such"},
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "soak", "version": "1"},
            },
        },
    ]
    round_: list[bytes] = []
    for other in others:
        round_ += [json.dumps(each).encode() for each in itertools.islice(small, _SMALL)]
        round_.append(json.dumps(other).encode())
    return round_


class Client:
    """One that keeps its connection for a while."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._left = 0
        self.statuses = Counter[int]()

    async def ask(self, body: bytes) -> None:
        """Send one request and read its answer."""
        if self._streams is None or not self._left:
            await self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=8 << 20)
            self._left = _RECONNECT
        self._left -= 1
        reader, writer = self._streams
        writer.write(
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.statuses[int(head[9:12])] += 1

    async def close(self) -> None:
        """Disconnect."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def family(pid: int) -> list[int]:
    """Return the process and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]


def memory(pids: Sequence[int]) -> float:
    """Return MiB of them all."""
    return sum(_kib(pid) for pid in pids) / 1024


def _kib(pid: int) -> int:
    for file, field in ((f"/proc/{pid}/smaps_rollup", "Pss:"), (f"/proc/{pid}/status", "VmRSS:")):
        try:
            lines = Path(file).read_text().splitlines()
        except OSError:
            continue
        found = [int(line.split()[1]) for line in lines if line.startswith(field)]
        if found:
            return found[0]
    return 0


async def soak(server: Process, sample: SampleLogin, calls: int, clients: int) -> None:
    """Make the calls, and tell of memory twenty times."""
    tenants = [f"soak-{number:02d}" for number in range(_TENANTS)]
    for tenant in tenants:
        await asyncio.to_thread(server.call, "register_tenant", **fields_of(tenant, sample))
    requests = itertools.cycle(bodies(tenants))
    made = [Client(server.port) for _ in range(clients)]
    pids, begun, told = family(server.popen.pid), time.perf_counter(), list[float]()
    tell(f"{'calls':>10} {'MiB':>8} {'files':>6} {'calls/s':>8}")
    each = max(1, calls // _LOOKS)

    async def some(client: Client, turns: Iterator[int]) -> None:
        # Out of one heap: who had a share of its own, and was done with it sooner, would be idle until it is cut off.
        for _ in turns:
            await client.ask(next(requests))

    for _ in range(_LOOKS):
        since = time.perf_counter()
        turns = iter(range(each))
        await asyncio.gather(*(some(client, turns) for client in made))
        told.append(memory(pids))
        files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)  # noqa: PTH208 - a count is all
        rate = each / (time.perf_counter() - since)
        tell(f"{each * len(told):>10} {told[-1]:>8.1f} {files:>6} {rate:>8.0f}")
    for client in made:
        await client.close()
    statuses = sum((client.statuses for client in made), Counter[int]())
    first, last = told[_LOOKS // 10 - 1], told[-1]
    tell(f"{time.perf_counter() - begun:.0f} s, answers by status: {dict(statuses)}")
    added = last - first
    tell(f"added since the first tenth: {added:+.1f} MiB, {added * (1 << 20) / (calls * 0.9):+.1f} bytes a call")


async def main(calls: int, clients: int, workers: int) -> None:
    """Run it on servers of our own."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        valkey, postgres = EmbeddedValkey(data), EmbeddedPostgres(data, durable=False)
        async with together(valkey, postgres):
            sample = await ensure_sample(postgres)
            env = {"MCP_POSTGRES_WORKERS": str(workers), "MCP_POSTGRES_LOG_LEVEL": "warning"}
            with serving(data, valkey.url, **env) as server:
                await soak(server, sample, calls, clients)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    uvloop.run(main(options.calls, options.clients, options.workers))
