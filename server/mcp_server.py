"""The MCP side: the toolbox behind the official SDK, over HTTP and stdio. What is beside tools, `server/mcp_beyond.py`.

The SDK is the protocol's reference, and answers what the fast path leaves to it (`server/fast_path.py`). JSON or a
stream is chosen per request: an answer is plain JSON unless the client can read a stream and has something to gain from
one (progress, or the 2026-07-28 revision, where the SDK decides by itself).
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, Final

import mcp_types
import msgspec
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from server import __version__
from server.batches import answer_batch
from server.beyond import Again, Beyond
from server.call_progress import Progress
from server.confirmation import AnswerNeeded, Ask, Question
from server.departure import Departure
from server.http_intake import BODY
from server.json_rpc import Problem, judged
from server.mcp_beyond import BeyondTools, PrincipalOf, require_no_cursor, tell_what_changes
from server.mcp_edge import answered, no_elicitation, scope_of
from server.mcp_params import told_in_words
from server.mcp_progress import reporting
from server.principal import Principal
from server.revisions import HANDSHAKE
from server.sdk_refusals import in_our_words
from server.signs_of_life import signs_of_life
from server.tool_permission import ToolPermission
from server.toolbox import Answer, Call, Hints, Tool, Toolbox, UnknownTool
from server.wide_numbers import values_of

INSTRUCTIONS: Final = (
    "Postgres databases of many tenants. list_tenants shows them; every database tool takes a tenant_id. "
    "Look at list_tables and describe_table before writing SQL; execute_query reads, execute_write writes."
)


class _Meta(msgspec.Struct):
    progress_token: int | str | None = msgspec.field(default=None, name="progressToken")


class _Params(msgspec.Struct):
    meta: _Meta | None = msgspec.field(default=None, name="_meta")


class _Peek(msgspec.Struct):
    """As much of a request as tells whether the caller wants progress."""

    params: _Params | None = None


_PEEK: Final = msgspec.json.Decoder(_Peek)
_YES_OR_NO: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean", "title": "Run and commit", "default": False}},
    "required": ["confirm"],
}


def build_server(
    toolbox: Toolbox, principal_of: PrincipalOf, beyond: Beyond | None = None, again: Again | None = None
) -> "Server[Any]":
    """Return the SDK's server over the toolbox.

    Args:
        toolbox: Its tools.
        principal_of: Tells who sent a request.
        beyond: What it has beside tools, if it has.
        again: Tells once more who sent a request that is answered for long; without it, that stays.
    """
    described = {name: _described(tool) for name, tool in toolbox.tools.items()}

    async def once_more(scope: Any) -> Principal:  # noqa: ANN401 - a scope
        return principal_of(scope)

    async def list_tools(context: Any, params: mcp_types.PaginatedRequestParams | None) -> mcp_types.ListToolsResult:  # noqa: ANN401 - as below
        require_no_cursor(params)
        principal = principal_of(scope_of(context))
        return mcp_types.ListToolsResult(tools=[described[tool.name] for tool in toolbox.open_to(principal)])

    async def call_tool(context: Any, params: mcp_types.CallToolRequestParams) -> Any:  # noqa: ANN401 - as below
        async def work(progress: Progress | None) -> Any:  # noqa: ANN401 - one of two results
            call = Call(principal=principal_of(scope_of(context)), ask=_asking(context, params), progress=progress)
            try:
                answer = await toolbox.call(params.name, params.arguments or {}, call)
            except AnswerNeeded as needed:
                return _input_required(needed.question)
            except UnknownTool as error:
                raise MCPError(mcp_types.INVALID_PARAMS, str(error)) from None
            if answer.wants_elicitation and context.session.protocol_version.encode() not in HANDSHAKE:
                raise no_elicitation(answer)
            return _result(answer)

        async with reporting(context) as progress:
            return await answered(context, work(progress))

    more = BeyondTools(beyond, toolbox, principal_of, again or once_more).handlers if beyond else {}
    server: Server[Any] = Server(
        "mcp-postgres",
        version=__version__,
        title="Postgres for many tenants",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        # Without it the SDK lists all tools on each call to find one schema.
        get_tool_input_schema=lambda name: toolbox.tools[name].input_schema if name in toolbox.tools else None,
        **more,
    )
    tell_what_changes(server)
    server.middleware.append(told_in_words)
    return server


def _asking(context: Any, params: mcp_types.CallToolRequestParams) -> Ask:  # noqa: ANN401 - as above
    """Return how the user behind a call is asked: in the call, or by an answer that has the client call again."""

    async def ask(question: Question) -> bool | None:
        session = context.session
        capabilities = session.client_capabilities
        offered = capabilities.elicitation if capabilities else None
        if offered is None or (offered.url is not None and offered.form is None):
            return None
        if session.protocol_version.encode() in HANDSHAKE:
            if not session.can_send_request:
                return None
            try:
                told = await session.elicit_form(question.text, _YES_OR_NO, related_request_id=context.request_id)
            except MCPError:  # it says that it can ask, and did not
                return False
            return _is_yes(told)
        answers = params.input_responses or {}
        if params.request_state != question.digest or question.digest not in answers:
            raise AnswerNeeded(question)
        return _is_yes(answers[question.digest])

    return ask


def _is_yes(answer: Any) -> bool:  # noqa: ANN401 - a client may answer with anything
    if not isinstance(answer, mcp_types.ElicitResult) or answer.action != "accept":
        return False
    return (answer.content or {}).get("confirm") is True


def _input_required(question: Question) -> mcp_types.InputRequiredResult:
    form = mcp_types.ElicitRequestFormParams(message=question.text, requested_schema=_YES_OR_NO)
    return mcp_types.InputRequiredResult(
        input_requests={question.digest: mcp_types.ElicitRequest(params=form)}, request_state=question.digest
    )


class StreamableHttp:
    """The server as a stateless ASGI application for one endpoint, behind an `Intake`.

    Args:
        server: What `build_server` returned.
        max_body: Bytes of the largest request body.
        permission: Answers calls of tools that are not the caller's.
    """

    def __init__(self, server: "Server[Any]", max_body: int, permission: ToolPermission) -> None:
        self._json, self._stream = (
            # Host and Origin are checked by the front.
            StreamableHTTPSessionManager(
                app=server, stateless=True, json_response=plain, max_request_body_size=max_body
            )
            for plain in (True, False)
        )
        self._permission = permission

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold the SDK's task groups open; requests are answered inside."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._json.run())
            await stack.enter_async_context(self._stream.run())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST whose body was read."""
        body: bytes = scope[BODY]
        headers = dict(scope["headers"])
        found = judged(body, headers.get(b"mcp-protocol-version"))
        if isinstance(found, Problem):
            await _say_no(found, send)
            return
        accept = [value for name, value in scope["headers"] if name == b"accept"]
        if len(accept) != 1 or not accept[0].strip():
            # No Accept header means anything, and several are one (RFC 9110, 12.5.1 and 5.3); the SDK takes the first.
            scope = _with_header(scope, b"accept", b", ".join(each for each in accept if each.strip()) or b"*/*")
        if not headers[b"content-type"].startswith(b"application/json"):
            # What the intake took for JSON may be written otherwise; the SDK knows small letters alone.
            scope = _with_header(scope, b"content-type", b"application/json")
        if found is None:
            await self._answer(scope, body, receive, send)
        else:
            async with _shown_life(_reads_streams(headers), send) as lively:
                await answer_batch(found, scope, receive, lively, self._answer)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        if await self._permission.refuses(scope, body, send):
            return
        headers = dict(scope["headers"])
        streamed = _may_stream(headers, body)
        manager = self._stream if streamed else self._json
        departure = Departure(body, receive)
        async with (
            departure.watched(scope) as watched,
            _shown_life(not streamed and _reads_streams(headers), send) as lively,
        ):
            await manager.handle_request(watched, departure.receive, in_our_words(lively))


def _shown_life(wanted: bool, send: Send) -> AbstractAsyncContextManager[Send]:  # noqa: FBT001 - what it is about
    return signs_of_life(send) if wanted else nullcontext(send)


def _reads_streams(headers: dict[bytes, bytes]) -> bool:
    """Whether the client names streams among what it accepts."""
    return b"text/event-stream" in headers.get(b"accept", b"").lower()


async def _say_no(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_header(scope: Scope, name: bytes, value: bytes) -> Scope:
    return {**scope, "headers": [*(each for each in scope["headers"] if each[0] != name), (name, value)]}


def _described(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        annotations=_annotated(tool.hints),
    )


def _annotated(hints: Hints) -> mcp_types.ToolAnnotations:
    """Return what differs from what the protocol has clients assume, and what they must not assume wrongly."""
    if hints.read_only:
        return mcp_types.ToolAnnotations(read_only_hint=True, open_world_hint=hints.open_world)
    return mcp_types.ToolAnnotations(
        read_only_hint=False,
        destructive_hint=hints.destructive,
        idempotent_hint=hints.idempotent,
        open_world_hint=hints.open_world,
    )


def _result(answer: Answer) -> dict[str, Any]:
    """Return the result as a dict, which the SDK's result model takes as it is; `resultType` is then ours to say."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": answer.payload.decode()}],
        "isError": answer.is_error,
        "resultType": "complete",
    }
    if not answer.is_error:
        result["structuredContent"] = values_of(answer.payload)
    return result


def _may_stream(headers: dict[bytes, bytes], body: bytes) -> bool:
    """Whether a stream has something to carry: the SDK decides for 2026-07-28, a wish for progress for those before."""
    if not _reads_streams(headers):
        return False
    revision = headers.get(b"mcp-protocol-version")
    if revision is not None and revision not in HANDSHAKE:
        return True
    try:
        peek = _PEEK.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return bool(peek.params and peek.params.meta and peek.params.meta.progress_token is not None)
