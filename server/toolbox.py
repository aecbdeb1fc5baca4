"""Where a tool call enters: one registry of typed tools, and the one way to call them.

A tool is an async function from a msgspec struct to a msgspec struct. The fast path and the SDK's road ask here for the
catalogue and hand calls in, so that both give the same answer. Errors become answers here and nowhere else.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar, get_type_hints

import msgspec
import structlog

from registry.errors import Forbidden, InvalidInput, NobodyToAsk, RateLimited, TenancyError, UnknownTenant
from registry.secrets import Secret
from server.call_progress import Progress
from server.confirmation import AnswerNeeded, Ask
from server.principal import Permission, Principal
from server.schemas import schema_of

_MARK: Final = "_tool_spec"
_ENCODER: Final = msgspec.json.Encoder()
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_SHOWN: Final = 300
"""Characters of what does not fit a tool's arguments: it names a field that there is not, however long."""
_OF_NO_TENANT: Final = frozenset({InvalidInput.code, UnknownTenant.code, Forbidden.code, RateLimited.code})
"""Outcomes after which `tenant_id` names nothing that is known, and may be a password in the wrong place."""
OPERATORS_KNOW: Final = "The registry is not well; its operators are told why. The same call may work later."
"""What is told to those who must not learn of others' tenants."""
BROKEN: Final = "Something broke in the server, not in your call; its log has the cause. Tell its operator."
"""All that a caller is told of a bug."""

Handler = Callable[[Any, "Call"], Awaitable[Any]]
Arguments: TypeAlias = Mapping[str, Any] | msgspec.Struct
"""What a call was given: an object of JSON, or the tool's own struct, already read."""
Observe = Callable[[str, str, float], None]
"""Told each call's tool, outcome (`ok` or an error's code) and seconds."""
Admit = Callable[[str], None]
"""Told each call's caller before anything is done for it; may refuse by raising a `TenancyError`."""
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call: who makes it, how their user is asked, if that can be, and how far it is, if they want to know."""

    principal: Principal
    ask: Ask | None = None
    progress: Progress | None = None

    @property
    def actor(self) -> str:
        """The caller's name, as the audit history will tell it."""
        return self.principal.subject


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may assume of a tool."""

    read_only: bool
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One tool: what clients are shown, and what runs."""

    name: str
    description: str
    hints: Hints
    needs: Permission
    input: type[msgspec.Struct]
    input_schema: dict[str, Any]
    run: Handler


class Answer(msgspec.Struct, frozen=True):
    """What a call led to: a JSON object, an error's or the tool's.

    Attributes:
        wants_elicitation: Whether it is an error because the client offers no way to ask its user.
    """

    payload: bytes
    is_error: bool
    wants_elicitation: bool = False


class UnknownTool(Exception):
    """No tool has that name; the message lists those there are."""


def tool(hints: Hints, needs: Permission) -> Callable[[H], H]:
    """Mark a method as a tool: its name, docstring and annotations are what clients see; `needs` is who they are."""

    def mark(function: H) -> H:
        setattr(function, _MARK, (hints, needs))
        return function

    return mark


class Toolbox:
    """All tools of a server, by name."""

    def __init__(
        self,
        tools: Iterable[Tool],
        observe: Observe = lambda _tool, _outcome, _seconds: None,
        admit: Admit = lambda _subject: None,
    ) -> None:
        self.tools: Mapping[str, Tool] = {each.name: each for each in tools}
        self._decoders = {
            name: msgspec.json.Decoder(each.input, dec_hook=_decode_secret) for name, each in self.tools.items()
        }
        self._observe = observe
        self._admit = admit
        self._logger = structlog.get_logger("tools").bind()  # at once: a lazy one is bound anew for each line

    @classmethod
    def of(
        cls,
        *owners: object,
        observe: Observe = lambda _tool, _outcome, _seconds: None,
        admit: Admit = lambda _subject: None,
    ) -> "Toolbox":
        """Collect the methods that `tool` marked, in the order in which they are written."""
        tools = (
            _tool(getattr(owner, name), *getattr(function, _MARK))
            for owner in owners
            for name, function in vars(type(owner)).items()
            if hasattr(function, _MARK)
        )
        return cls(tools, observe, admit)

    def open_to(self, principal: Principal) -> list[Tool]:
        """Return the tools that the caller may use: the others are not shown."""
        return [each for each in self.tools.values() if principal.may(each.needs)]

    def read(self, name: str, text: bytes | msgspec.Raw) -> Arguments:
        """Return a known tool's arguments from their JSON: its struct, or, for `call` to refuse, what does not fit it.

        Raises `DecodeError` and `UnicodeDecodeError` for what JSON's readers may not see alike, or is no object.
        """
        try:
            struct: msgspec.Struct = self._decoders[name].decode(text)
        except msgspec.ValidationError:
            return _OBJECT.decode(text)
        return struct

    async def call(self, name: str, arguments: Arguments, call: Call) -> Answer:
        """Check the arguments, run the tool, return its answer. Raises `UnknownTool` and `AnswerNeeded` alone.

        May be cancelled.
        """
        known = self.tools.get(name)
        if known is None:
            raise UnknownTool(f"There is no tool {name[:80]!r}; there are {', '.join(self.tools)}.")
        begun = time.perf_counter()
        try:
            answer, outcome = await self._run(known, arguments, call)
        except asyncio.CancelledError:
            self._note(name, "cancelled", arguments, begun, 0)
            raise
        self._note(name, outcome, arguments, begun, len(answer.payload))
        return answer

    def _note(self, name: str, outcome: str, arguments: Arguments, begun: float, size: int) -> None:
        spent = time.perf_counter() - begun
        self._observe(name, outcome, spent)
        self._logger.info(
            "tool call",
            tool=name,
            tenant=None if outcome in _OF_NO_TENANT else value_in(arguments, "tenant_id"),
            outcome=outcome,
            ms=round(spent * 1000, 2),
            bytes=size,
        )

    @asynccontextmanager
    async def request(self, name: str, principal: Principal) -> AsyncIterator[None]:
        """Hold a request that calls no tool: it is counted and told of under `name`, as a call is.

        Raises `TenancyError` alone, and no more in it than the caller may know. What is inside may be cancelled.
        """
        begun, outcome = time.perf_counter(), "cancelled"
        try:
            self._admit(principal.subject)
            yield
            outcome = "ok"
        except TenancyError as error:
            outcome = error.code
            raise (error if principal.touches_all else _discreet(error)) from None
        except Exception:  # the supervising edge, as below
            outcome = "internal"
            self._logger.exception("request failed", request=name)
            raise _broken() from None
        finally:
            spent = time.perf_counter() - begun
            self._observe(name, outcome, spent)
            self._logger.info("request", request=name, outcome=outcome, ms=round(spent * 1000, 2))

    async def _run(self, known: Tool, arguments: Arguments, call: Call) -> tuple[Answer, str]:
        try:
            self._admit(call.principal.subject)
            call.principal.require(known.needs)
            args = _checked(known, arguments)
            return Answer(_ENCODER.encode(await known.run(args, call)), is_error=False), "ok"
        except TenancyError as error:
            return failure(error if call.principal.touches_all else _discreet(error)), error.code
        except AnswerNeeded:
            raise  # no answer yet, and no error
        except Exception:  # the supervising edge: a bug's text may hold anything, so it goes to the log alone
            self._logger.exception("tool failed", tool=known.name)
            return failure(_broken()), "internal"


def failure(error: TenancyError) -> Answer:
    """Return the answer that tells a model or a program about an error. The one table is the errors' own."""
    told = {"code": error.code, "message": error.message, "retryable": error.retryable, **error.facts}
    return Answer(_ENCODER.encode({"error": told}), is_error=True, wants_elicitation=isinstance(error, NobodyToAsk))


def _broken() -> TenancyError:
    return TenancyError(BROKEN)


def _discreet(error: TenancyError) -> TenancyError:
    """Return the error as it is told to who may not touch every tenant."""
    return type(error)(OPERATORS_KNOW) if error.names_anybody else error


def value_in(arguments: Arguments, name: str) -> object:
    """Return one of the arguments; None where it is not given."""
    if isinstance(arguments, msgspec.Struct):
        return getattr(arguments, name, None)
    return arguments.get(name)


def _checked(known: Tool, arguments: Arguments) -> msgspec.Struct:
    if isinstance(arguments, msgspec.Struct):
        return arguments
    try:
        return msgspec.convert(arguments, known.input, dec_hook=_decode_secret)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{str(error)[:_SHOWN]}. {known.name} takes {_usage(known)}.") from None


def _usage(known: Tool) -> str:
    required = set(known.input_schema.get("required", ()))
    return ", ".join(name if name in required else f"{name}?" for name in known.input_schema.get("properties", {}))


def _tool(run: Handler, hints: Hints, needs: Permission) -> Tool:
    annotations = get_type_hints(run)
    return Tool(
        name=run.__name__,
        description=" ".join((inspect.getdoc(run) or "").split()),
        hints=hints,
        needs=needs,
        input=annotations["args"],
        input_schema=schema_of(annotations["args"]),
        run=run,
    )


def _decode_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
