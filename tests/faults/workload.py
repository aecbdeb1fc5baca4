"""Clients that register, replace, remove and look at a few tenants, and write down what they asked and were told.

What they ask is drawn from the seed; when it happens is the machine's doing.
"""

import http.client
import itertools
import json
import random
import threading
from typing import Any, Final

from tests.faults.history import UNREACHABLE, Action, Ok, Operation, Outcome, Refused, Unknown, command_id_of
from tests.faults.world import Replica, World
from tests.processes import Process

CANARY: Final = "canary-Zw7"
"""Every password begins with it, so that one look finds any of them in clear."""
TENANTS: Final = tuple(f"tenant-{number}" for number in range(8))
CLIENTS: Final = 8
_ACTIONS: Final[tuple[Action, ...]] = ("register", "remove", "get", "list")
_PATIENCE: Final = 3.0
"""Seconds until a client gives up: longer than a command of Redis may take, shorter than replicas are frozen."""
_PAUSE: Final = 0.04
"""Longest time between two calls of a client, in seconds."""
_SHUN: Final = 1.0
"""Seconds for which a replica that did not answer is mostly not asked."""
_TRIES: Final = 4
_OPEN: Final = frozenset({"registry_unavailable", "stale_replica"})
"""Refusals that leave open whether the change was made."""


class Ask:
    """One command of a client, the same at every try."""

    def __init__(self, number: int, action: Action, tenant: str | None, chance: random.Random) -> None:
        self.number = number
        self.action = action
        self.tenant = tenant
        self.value = f"w{number}" if action == "register" else None
        changes = action in ("register", "remove")
        self.command_id = command_id_of(number) if changes and chance.random() < 0.5 else None
        self.expected_version: int | None = None

    def call(self) -> tuple[str, dict[str, Any]]:
        """Return the tool and its arguments."""
        match self.action:
            case "list":
                return "list_tenants", {"limit": 1000}
            case "get":
                return "get_tenant", {"tenant_id": self.tenant}
            case "remove":
                return "remove_tenant", self._change()
            case "register":
                login = {
                    "host": "db.example",
                    "user": "app",
                    "database": self.value,
                    "password": password_of(self.value),
                }
                return "register_tenant", {**self._change(), **login, "verify": False}

    def _change(self) -> dict[str, Any]:
        more = {"command_id": self.command_id, "expected_version": self.expected_version}
        given = {name: value for name, value in more.items() if value is not None}
        return {"tenant_id": self.tenant, "reason": f"command {self.number}", **given}


class Client(threading.Thread):
    """One client: asks until it is told to stop.

    Args:
        number: Which one.
        seed: What its choices are drawn from.
        world: Whom it asks; what it did is told to the world's recorder.
        numbers: Fresh numbers for commands, shared by all clients.
    """

    def __init__(self, number: int, seed: str, world: World, numbers: "itertools.count[int]") -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.error: Exception | None = None
        self._number = number
        self._chance = random.Random(f"{seed} client {number}")  # noqa: S311 - drawn again from the same seed
        self._world = world
        self._numbers = numbers
        self._stopped = threading.Event()
        self._versions: dict[str, int] = {}
        self._values: dict[str, str] = {}
        self._shunned: dict[str, float] = {}

    def stop(self) -> None:
        """Ask no more; what is under way is seen through."""
        self._stopped.set()

    def run(self) -> None:
        """Ask and write down."""
        try:
            while not self._stopped.wait(self._chance.uniform(0, _PAUSE)):
                self._command(self._draw())
        except Exception as error:  # noqa: BLE001 - a defect of the client is the run's to tell
            self.error = error

    def _draw(self) -> Ask:
        action = self._chance.choices(_ACTIONS, (35, 15, 35, 15))[0]
        tenant = None if action == "list" else self._chance.choice(TENANTS)
        ask = Ask(next(self._numbers), action, tenant, self._chance)
        if tenant and action in ("register", "remove") and self._chance.random() < 0.2:
            ask.expected_version = self._versions.get(tenant, 0)
        if tenant and action == "register" and self._chance.random() < 0.1:  # the same again, which changes nothing
            ask.value = self._values.get(tenant, ask.value)
        return ask

    def _command(self, ask: Ask) -> None:
        """Ask; ask again for a command with an id, where the answer is not known, and now and then where it is."""
        replica = self._choose()
        for _ in range(_TRIES):
            outcome = self._ask(replica, ask)
            known = not isinstance(outcome, Unknown)
            again = ask.command_id and (not known or self._chance.random() < 0.05)
            if known and isinstance(outcome, Ok) and ask.tenant and self._chance.random() < 0.3:
                self._ask(replica, Ask(next(self._numbers), "get", ask.tenant, self._chance))
            if not again or self._stopped.wait(self._chance.uniform(0.0, 0.5)):
                return
            replica = self._choose()

    def _choose(self) -> Replica:
        """Choose whom to ask: mostly not one that did not answer a moment ago, as a load balancer would."""
        now = self._world.recorder.now()
        healthy = [replica for replica in self._world.replicas if self._shunned.get(replica.name, 0.0) < now]
        return self._chance.choice(healthy if healthy and self._chance.random() < 0.9 else self._world.replicas)

    def _ask(self, replica: Replica, ask: Ask) -> Outcome:
        assert replica.now is not None
        life, process = replica.now
        recorder = self._world.recorder
        invoked = recorder.now()
        outcome = call(process, *ask.call())
        operation = Operation(
            client=self._number,
            replica=replica.name,
            life=life,
            command=ask.number,
            action=ask.action,
            tenant=ask.tenant,
            value=ask.value,
            command_id=ask.command_id,
            expected_version=ask.expected_version,
            invoked=invoked,
            returned=recorder.now(),
            outcome=outcome,
        )
        recorder.tell(operation)
        self._learn(ask, outcome)
        if outcome == Refused(UNREACHABLE) or isinstance(outcome, Unknown):
            self._shunned[replica.name] = recorder.now() + _SHUN
        return outcome

    def _learn(self, ask: Ask, outcome: Outcome) -> None:
        version = outcome.answer.get("version") if isinstance(outcome, Ok) else None
        if ask.tenant and isinstance(version, int):
            self._versions[ask.tenant] = version
        if ask.tenant and ask.value and isinstance(outcome, Ok):
            self._values[ask.tenant] = ask.value


def run_clients(seed: str, world: World) -> list[Client]:
    """Start the clients."""
    numbers = itertools.count(1)
    clients = [Client(number, seed, world, numbers) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    return clients


def password_of(value: str | None) -> str:
    """Return the password that a registration with this value brings."""
    return f"{CANARY}-{value}"


def call(process: Process, tool: str, arguments: dict[str, Any]) -> Outcome:
    """Call a tool once; what became of it is an outcome, whatever it is."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    try:
        status, body = process.request(
            "POST",
            "/postgres/mcp",
            json.dumps(message).encode(),
            {"Content-Type": "application/json"},
            patience=_PATIENCE,
        )
    except ConnectionRefusedError:
        return Refused(UNREACHABLE)
    except (OSError, http.client.HTTPException) as error:
        return Unknown(type(error).__name__)
    return _outcome(status, body)


def _outcome(status: int, body: bytes) -> Outcome:
    result = json.loads(body).get("result") if status == 200 else None
    if result is None:
        return Refused(f"http_{status}")
    if not result["isError"]:
        return Ok(result["structuredContent"])
    error = json.loads(result["content"][0]["text"])["error"]
    if error["code"] in _OPEN:
        return Unknown(error["code"])
    return Refused(error["code"], error.get("current_version", error.get("version")))
