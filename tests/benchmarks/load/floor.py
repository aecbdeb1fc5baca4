"""The least that a Python server of the same parts could cost a call: uvicorn, msgspec and asyncpg, and nothing else.

It answers one tool, `execute_query`, and looks at nothing: not at heads, not at who calls, not at the SQL. There is no
tenant, no transaction, no bound, no reset of the session, no log. So what `ours` costs beyond it is what all of that
costs, and nothing written in Python with these libraries can be faster than it.

    python -m tests.benchmarks.load.floor PORT DSN
"""

import asyncio
import sys
from typing import Any, Final

import asyncpg
import msgspec
import uvicorn
from starlette.types import Receive, Scope, Send

NAME: Final = "floor"
_CONNECTIONS: Final = 10
_HANDSHAKE: Final = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": NAME, "version": "0"},
}


class _Arguments(msgspec.Struct):
    query: str


class _Params(msgspec.Struct):
    arguments: _Arguments


class _Request(msgspec.Struct):
    method: str
    id: int | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")


_REQUEST: Final = msgspec.json.Decoder(_Request)
_PARAMS: Final = msgspec.json.Decoder(_Params)
_encode: Final = msgspec.json.Encoder().encode


class Floor:
    """The application.

    Args:
        dsn: The database that it reads.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._free: asyncio.LifoQueue[asyncpg.Connection] = asyncio.LifoQueue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = await self._answer(_REQUEST.decode(body))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        for _ in range(_CONNECTIONS):
            self._free.put_nowait(await asyncpg.connect(self._dsn))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: _Request) -> bytes:
        if request.id is None:
            return b""
        result = _HANDSHAKE if request.method == "initialize" else await self._call(request.params)
        return _encode({"jsonrpc": "2.0", "id": request.id, "result": result})

    async def _call(self, params: msgspec.Raw) -> dict[str, Any]:
        asked = _PARAMS.decode(params).arguments
        connection = await self._free.get()
        try:
            records = await connection.fetch(asked.query)
        finally:
            self._free.put_nowait(connection)
        payload = _encode({"columns": [*records[0].keys()], "rows": [[*record.values()] for record in records]})
        content = [{"type": "text", "text": payload.decode()}]
        return {"content": content, "isError": False, "structuredContent": msgspec.Raw(payload)}


def main(port: int, dsn: str) -> None:
    """Serve until stopped."""
    uvicorn.run(
        Floor(dsn), port=port, http="httptools", loop="uvloop", ws="none", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
