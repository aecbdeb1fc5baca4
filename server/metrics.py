"""What `/metrics` tells, in Prometheus's text form. The one file that imports the Prometheus client.

Everything is read when it is asked for; between two scrapes nothing is kept and nothing is computed. No label holds a
tenant's id: there may be very many, and a reader of metrics need not know them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from projections.clock import boottime
from projections.diagnosis import Finding
from projections.phase import Phase
from server import __version__
from server.access_refused import Reason
from server.instruments import Instruments
from server.pools import REFUSALS

_PREFIX: Final = "mcp_postgres_"
Samples: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


def exposition(instruments: Instruments, refused: Mapping[Reason, int]) -> Callable[[], bytes]:
    """Return what writes all metrics of one replica as text; `refused` counts requests that did not get in."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(instruments, refused))
    return lambda: generate_latest(registry)


class _Collector:
    """Reads the instruments at each scrape."""

    def __init__(self, instruments: Instruments, refused: Mapping[Reason, int]) -> None:
        self._of = instruments
        self._refused = refused

    def describe(self) -> Iterable[Metric]:
        """Describe nothing ahead: the client would collect once to find names that cannot clash."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        yield _gauge("build_info", "Which version runs.", [((__version__,), 1)], "version")
        yield from self._registry()
        yield from self._replicas_and_pools()
        yield from self._counters()
        yield from self._calls()
        yield from self._http()

    def _registry(self) -> Iterator[Metric]:
        status, position = self._of.follower.status, self._of.follower.position
        quarantined = len(self._of.directory.quarantined())
        heard = self._of.freshness.heard_at
        age: Samples = [] if heard is None else [((), boottime() - heard)]
        phases = [((phase.value,), float(phase is status.phase)) for phase in Phase]
        yield _gauge("registry_phase", "1 for what the replica is doing, 0 for the rest.", phases, "phase")
        yield _one("registry_ready", "Whether the whole log was read and nothing stopped it since.", status.ready)
        yield _one("registry_position", "Entries of the log that are applied.", position.seq)
        yield _one("registry_tenants", "Tenants that may be used.", status.tenants)
        yield _one("registry_quarantined_tenants", "Tenants whose last event cannot be read.", quarantined)
        yield _gauge("registry_staleness_seconds", "Since it was last known that everything was applied.", age)

    def _replicas_and_pools(self) -> Iterator[Metric]:
        live = sum(each.live for each in self._of.presence.known)
        pools = self._of.pools
        yield _one("replicas_live", "Replicas seen within their lease, this one included.", live)
        yield _one("pools_open", "Tenants with a pool.", len(pools))
        yield _one("pools_draining", "Pools that are being closed.", pools.draining)
        yield _one("pool_connections", "Connections to tenants' databases, open and being opened.", pools.connections)
        yield _one("pool_calls_running", "Calls that hold or await a connection.", pools.running)
        queues = [((queue,), number) for queue, number in zip(("tenant", "replica"), pools.waiting, strict=True)]
        yield _gauge("pool_calls_waiting", "Calls that wait for their turn.", queues, "queue")
        yield _one("pool_logins", "Logins that are under way.", pools.logging_in)
        refused: Samples = [((bound,), pools.refused[bound]) for bound in REFUSALS]
        yield _counter("pool_refusals", "Calls told tenant_busy, by whose bound they met.", refused, "bound")

    def _counters(self) -> Iterator[Metric]:
        tally = self._of.tally
        appends: Samples = [
            (("appended",), tally.appended),
            (("repeated",), tally.repeated),
            (("conflict",), tally.conflicts),
            (("diverged",), tally.diverged),
        ]
        findings = self._of.follower.status.findings
        found: Samples = [((each.value,), findings.get(each, 0)) for each in Finding]
        yield _counter("log_appends", "Appends by what came of them.", appends, "outcome")
        yield _counter("log_append_retries", "Appends sent again after a lost reply.", [((), tally.append_retries)])
        yield _counter("log_findings", "What had become of the log when it did not link.", found, "finding")
        yield _counter("log_restorations", "Times this replica restored the log.", [((), tally.restorations)])
        yield _counter("log_restated_tenants", "Tenants it said again for that.", [((), tally.restated)])
        yield _counter("key_repairs", "Tenants' keys that differed from the log.", [((), tally.keys_repaired)])
        yield _counter("head_repairs", "Heads that differed from the log.", [((), tally.heads_repaired)])
        yield _counter("quarantines", "Events whose body could not be read.", [((), tally.quarantined)])

    def _calls(self) -> Iterator[Metric]:
        tools = self._of.tools
        refused: Samples = [((each,), self._refused.get(each, 0)) for each in get_args(Reason)]
        yield _counter("refused_requests", "Requests that did not get in.", refused, "reason")
        yield _counter("tool_calls", "Tool calls by outcome.", list(tools.outcomes.items()), "tool", "outcome")
        spent = HistogramMetricFamily(_PREFIX + "tool_call_seconds", "How long tool calls took.", labels=["tool"])
        for tool, durations in tools.durations.items():
            spent.add_metric([tool], list(durations.cumulative()), durations.total)
        yield spent
        yield _one("subscriptions", "Listeners to what changes.", self._of.announcements.listening)

    def _http(self) -> Iterator[Metric]:
        http = self._of.http
        refused: Samples = [((reason,), count) for reason, count in http.refused.items()]
        roads: Samples = [((road,), count) for road, count in http.roads.items()]
        yield _one("http_clients", "Client connections.", http.clients)
        yield _one("http_requests_running", "MCP requests in flight.", http.running)
        yield _counter("http_requests", "MCP requests by who answered them.", roads, "road")
        yield _counter("http_refusals", "Requests and connections refused, by reason.", refused, "reason")


def _one(name: str, meaning: str, value: float) -> Metric:
    return _gauge(name, meaning, [((), value)])


def _gauge(name: str, meaning: str, samples: Samples, *labels: str) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, meaning: str, samples: Samples, *labels: str) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, meaning, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
