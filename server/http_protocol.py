"""The HTTP parser's own limits: uvicorn waits for ever for a head and for a reader, and holds heads of any size.

Invariant: a connection that waits for no answer of ours has a timer running, and ends if its client does nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server import http_bounds
from server.attendance import ALIVE_EVERY
from server.deadline import Deadline
from server.http_bounds import MOST_FIELDS, MOST_HEAD, MOST_PIPELINED, MOST_TARGET, Bounds, answer_of
from server.http_heads import Heads
from server.http_intake import ARRIVED
from server.http_send import Cycle
from server.presence import PRESENCE, Presence
from server.reading_clients import Reading
from server.refusals import Reason, Refusal
from server.unread import Unread

Make = Callable[[Config, ServerState, dict[str, Any], asyncio.AbstractEventLoop | None], "Impatient"]


def impatient(bounds: Bounds) -> Make:
    """Return what makes protocols within these bounds, as uvicorn calls it."""

    def make(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Impatient:
        made = Impatient(config, server_state, app_state, _loop)
        made.bounds = bounds
        return made

    return make


class _Stop(Exception):
    """Leaves the parser: it is not to go on with what it was given."""


class Impatient(HttpToolsProtocol):
    """uvicorn's protocol, with bounds."""

    bounds: Bounds
    wire: asyncio.Transport
    """What the bytes go to in the end: under TLS, what carries it."""
    scope: Any

    _in_head = False
    _in_message = False
    _begun = 0
    """Requests that began in what is being parsed."""
    _fields = 0
    _head = 0
    _silent = 0
    """Bytes that came since there was last a byte of a body or the end of a request."""
    _refusal: Refusal | None = None
    _current: RequestResponseCycle | None = None
    """What is being answered, or was last; `cycle` is what came last, and may wait for its turn."""

    def approach(self, wire: asyncio.Transport) -> bool:
        """Take a place before the handshake; False if there is none."""
        self.wire = self.transport = wire
        self.connections.add(self)
        return self.bounds.crowd.enter(self)

    def turn_back(self) -> bool:
        """Give the place up when the connection has ended; False if it was given up before, or taken."""
        self.connections.discard(self)
        return self.bounds.crowd.leave(self)

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn narrows what asyncio declares
        """Begin, and wait for a head."""
        placed = hasattr(self, "wire") or self.approach(transport)
        super().connection_made(transport)
        self.flow = self._unread = Unread(self.loop, transport, self.wire)
        self._heads = Heads()
        self._presence = Presence(self.loop, ALIVE_EVERY)
        self._late = Deadline(self.loop, self.bounds.patience, self._give_up)
        self._reading = Reading(
            self.loop, self.wire, self.bounds.patience, lambda: self.bounds.tally.note("answer_not_taken")
        )
        self._idle = Deadline(self.loop, self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._cycle_of = partial(
            Cycle,
            transport=transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            on_response=self.on_response_complete,
        )
        if placed:
            self._expect_more()
        else:
            self._turn_away(http_bounds.CROWDED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and tell who works for the client."""
        self.bounds.crowd.leave(self)
        self._presence.leave()
        for timer in (self._late, self._idle, self._reading, self._unread):
            timer.end()
        if self._current is not None:
            self.cycle = self._current  # uvicorn tells the last that came
        super().connection_lost(exc)

    def drop(self) -> None:
        """End the connection at once: somebody else needs its place."""
        self.wire.abort()

    def data_received(self, data: bytes) -> None:
        """Take it."""
        self._idle.lift()
        waits = not self._in_message and not self._is_answering()
        again = self._heads.again(data) if waits else None
        if again is not None:
            self._repeat(*again)
            return
        self._begun = 0
        self._parse(data)
        if waits and self._begun == 1 and not self._in_message and self.cycle.keep_alive:
            self._heads.keep(data, self.scope)
        # Only now: most requests come in one piece, and need no time to come.
        if self._in_head or not (self._in_message or self._is_answering()):
            self._expect_more()

    def _repeat(self, scope: Any, body: bytes) -> None:  # noqa: ANN401 - a scope
        """Take a whole request whose head was parsed before."""
        self._late.lift()
        self._silent = 0
        self.scope = scope
        scope["state"], scope[ARRIVED] = self.app_state.copy(), True
        self.cycle = self._current = self._cycle_of(
            scope=scope, message_event=asyncio.Event(), expect_100_continue=False, keep_alive=True
        )
        self.cycle.body, self.cycle.more_body = bytearray(body), False
        self.bounds.crowd.wait(self)
        self._start_asgi_task(self.cycle, self.app)

    def _parse(self, data: bytes) -> None:
        """Parse it, or say no."""
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            structlog.get_logger("http").debug("no other protocol is spoken here")
        except httptools.HttpParserError:
            self._turn_away(self._refusal or http_bounds.UNREADABLE)
        else:
            if self._silent > MOST_HEAD:
                self._turn_away(http_bounds.LARGE_HEAD)

    def on_message_begin(self) -> None:
        """Begin a head."""
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop(http_bounds.PIPELINED)
        self._in_head = self._in_message = True
        self._fields = self._head = self._silent = 0
        self._begun += 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > MOST_TARGET:
            self._stop(http_bounds.LONG_TARGET)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head."""
        if not self._in_head:
            return  # a trailer: what was checked in the head must not change behind the checks
        self._fields += 1
        self._head += len(name) + len(value)
        if self._fields > MOST_FIELDS or self._head > MOST_HEAD:
            self._stop(http_bounds.LARGE_HEAD)
        # White space behind a value is no part of it (RFC 9110, 5.5), and the parser leaves it there.
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"expect":
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request on; its body has a time of its own."""
        self._in_head = False
        self._late.lift()
        if not self.url.startswith(b"/") and self.url != b"*":
            self._stop(http_bounds.TARGET)  # a whole URL names a host beside the Host that was checked
        self._complete_scope()
        waits, version = not self._is_answering(), self.scope["http_version"]
        self.cycle = self._cycle_of(
            scope=self.scope,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
        )
        if waits:
            self._current = self.cycle
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self) -> None:
        scope, target = self.scope, httptools.parse_url(self.url)
        scope["method"], scope["http_version"] = self.parser.get_method().decode(), self.parser.get_http_version()
        scope["path"] = self.root_path + unquote(target.path.decode("ascii"))
        scope["raw_path"] = self.root_path.encode() + target.path
        scope["query_string"] = target.query or b""
        scope[ARRIVED], scope[PRESENCE] = False, self._presence

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the answer, or, where it was given before all had come, for the next request."""
        self._in_message = False
        self._silent = 0
        super().on_message_complete()
        self.scope[ARRIVED] = True
        if self._is_answering():
            self.bounds.crowd.wait(self)
        else:  # refused before all of it had come
            self._late.set()

    def on_response_complete(self) -> None:
        """Wait until the answer is taken, and for the next request, or turn to one that has come."""
        self.server_state.total_requests += 1
        self._reading.expect()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._current, app = self.pipeline.pop()
                self._start_asgi_task(self._current, app)
            else:
                self._idle.set()
        if not self._is_answering():
            self.bounds.crowd.rest(self)
            if self._in_message:
                self._expect_more()

    def pause_writing(self) -> None:
        """Wait until the client reads."""
        super().pause_writing()
        self._reading.expect()

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        self._reading.end()

    def _is_answering(self) -> bool:
        return self._current is not None and not self._current.response_complete

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Stop

    def _turn_away(self, refusal: Refusal) -> None:
        """Say no to what uvicorn does not get to see, unless an answer has begun, and close."""
        if self.transport.is_closing():
            return
        self.bounds.tally.note(refusal.reason)
        if self._current is None or self._current.response_complete or not self._current.response_started:
            self.transport.write(answer_of(refusal, self.server_state.default_headers))
        self._close()

    def _close(self) -> None:
        """Close when what is written has been taken; that has its time, too."""
        self.transport.close()
        self._reading.expect()

    def _expect_more(self) -> None:
        if not self._late.is_set:
            self._late.set()

    def _give_up(self) -> None:
        if self._is_answering():
            self._expect_more()  # the answer to the request before this one is under way: let it arrive
            return
        reason: Reason = "rest_late" if self._in_message and not self._in_head else "head_late"
        self.bounds.tally.note(reason)
        self._close()
