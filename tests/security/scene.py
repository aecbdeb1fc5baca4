"""One run in which secrets are given in every place, and all that left the processes is kept.

A way is a function that does something with the scene: it plants, calls, notes that what it planted was really used,
and what came of it goes into the harvest.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis import Redis

from server.embedded.postgres import EmbeddedPostgres
from tests.processes import Process, run_command
from tests.security.leaks import Planted
from tests.servers import Server

PREFIX = "mcp:postgres"


@dataclass(kw_only=True)
class Scene:
    """What a run has planted, used and harvested.

    Attributes:
        planted: The secrets by their places.
        used: Places whose secret was really used.
        harvest: All that left the processes: what it is, and the bytes.
        told: Where a place's secret may be: in the answers to the very caller who gave it, where a name should be.
    """

    home: Path
    redis: Server
    postgres: EmbeddedPostgres
    planted: dict[str, Planted] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    harvest: list[tuple[str, bytes]] = field(default_factory=list)
    told: dict[str, tuple[str, ...]] = field(default_factory=dict)
    replicas: list[Process] = field(default_factory=list)

    def plant(self, place: str, shape: str = "{}", *, told: bool = False, looked_up: bool = False) -> str:
        """Return a secret for a place; it may be told to the caller, or looked up in Redis as a tenant's name is."""
        self.planted[place] = Planted.at(place, shape)
        self.told[place] = (("answer",) if told else ()) + (("MONITOR", "SLOWLOG GET -1") if looked_up else ())
        return self.planted[place].text

    def note(self, place: str, text: str) -> None:
        """Plant what was made elsewhere, and is random as a whole."""
        self.planted[place] = Planted(place, text, text)

    def use(self, place: str, proof: object) -> None:
        """Note that the secret of a place was used; without proof of it the run is void."""
        assert proof, f"{place}: the secret was not used"
        self.used.add(place)

    def call(self, replica: Process, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool, keep the whole answer, and return the structured one, or the error."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        told: dict[str, Any] = json.loads(self.post(replica, json.dumps(message).encode())[1])
        if "error" in told:
            return dict(told["error"])
        result = told["result"]
        return dict(
            json.loads(result["content"][0]["text"])["error"] if result["isError"] else result["structuredContent"]
        )

    def post(
        self, replica: Process, body: bytes, headers: dict[str, str] | None = None, path: str = "/postgres/mcp"
    ) -> tuple[int, bytes]:
        """Post anything, and keep the answer."""
        json_body = {"Content-Type": "application/json", **(headers or {})}
        status, answer = replica.request("POST", path, body, json_body)
        self.harvest.append(("answer", answer))
        return status, answer

    def get(self, replica: Process, path: str) -> int:
        """Get anything, and keep the answer."""
        status, answer = replica.request("GET", path)
        self.harvest.append((f"page {path[:10]}", answer))
        return status

    def command(self, *words: str, env: dict[str, str], stdin: str = "") -> str:
        """Run a command of the command line, keep all that it printed, and return that."""
        done = run_command(*words, env=env, stdin=stdin)
        printed = done.stdout + done.stderr
        self.harvest.append((f"mcp-postgres {' '.join(words[:2])}", printed.encode()))
        return printed

    def env(self, **more: str) -> dict[str, str]:
        """Return what names this scene's Redis and keys to a process."""
        login = f"app:{quote(self.planted['Redis password in REDIS_URL'].text, safe='')}"
        return {
            "REDIS_URL": f"redis://{login}@127.0.0.1:{self.redis.port}/0",
            "MCP_POSTGRES_KEY_FILE": str(self.home / "master.key"),
            "MCP_POSTGRES_SIGNING_KEY_FILE": str(self.home / "signing.key"),
            **more,
        }

    def operator(self) -> Redis:
        """Return the operator's client, whose login is no secret."""
        return Redis(port=self.redis.port, username="operator", socket_timeout=10)

    def at_sample(self, tenant: str, **fields: object) -> dict[str, Any]:
        """Return the arguments that register a tenant of this scene's Postgres."""
        place = {"host": "127.0.0.1", "port": self.postgres.port, "database": "postgres", "ssl": "disable"}
        return {"tenant_id": tenant, **place, **fields}
