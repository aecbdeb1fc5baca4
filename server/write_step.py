"""One statement of a write, run once and to its end, and what it did."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec
from asyncpg import Connection

from server.binding import bind, misfit
from server.meter import Meter
from server.results import QUIET_BYTES, Budget, Column, EncodedRows, Result, decoded
from server.row_encoding import RowEncoder
from server.sql_writes import Write
from server.values import Row, are_ready

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

_DRAINED: Final = 10_000
"""Rows of a step of which none is kept."""
_LARGEST: Final = 1 << 30
"""Bytes of the largest message that Postgres makes; one that is left out is not held."""


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one statement did.

    Attributes:
        row_count: Rows written, or returned by a SELECT.
        truncated: Whether there are more rows than are told; all were written.
    """

    kind: str
    row_count: int | None = None
    columns: list[Column] = []
    encoded: EncodedRows | msgspec.UnsetType = msgspec.field(name="rows", default=msgspec.UNSET)
    truncated: bool = False

    @property
    def rows(self) -> list[Row]:
        """The rows as values, decoded anew."""
        return [] if self.encoded is msgspec.UNSET else decoded(self.encoded)


class Step(msgspec.Struct, frozen=True):
    """One statement to be run, and its parameters."""

    write: Write
    params: Sequence[object]


class Attempt:
    """One statement. It is run once, and a second time only after `undo` said that nothing of the first is left."""

    def __init__(self, connection: Connection, meter: Meter, step: Step) -> None:
        self._connection = connection
        self._meter = meter
        self._step = step
        self._saved = self._ran = False

    async def undo(self) -> bool:
        """Roll back to the statement's savepoint, if it set one; return whether nothing of the statement is left."""
        if self._saved:
            self._meter.allow(QUIET_BYTES)
            await self._connection.execute("ROLLBACK TO SAVEPOINT before_statement")
        return self._saved or not self._ran

    async def run(self, budget: Budget) -> tuple[Written, Result]:
        """Return what it did, and the rows that are told."""
        self._saved = self._ran = False
        self._meter.allow(QUIET_BYTES)
        statement = await self._connection.prepare(self._step.write.text)
        attributes = statement.get_attributes()
        types = [attribute.type for attribute in attributes]
        if not are_ready(types):
            await self._connection.execute("SAVEPOINT before_statement")
            self._saved = True
        result = Result(budget, RowEncoder(types))
        self._ran = True
        count = await self._fill(result, statement)
        told = [Column(attribute.name, attribute.type.name) for attribute in attributes]
        return Written(
            kind=self._step.write.kind,
            row_count=count,
            columns=told,
            encoded=result.rows if result.count else msgspec.UNSET,
            truncated=result.truncated_by is not None,
        ), result

    async def _fill(self, result: Result, statement: "PreparedStatement[asyncpg.Record]") -> int | None:
        """Run it to its end; return how many rows it wrote or returned."""
        types = statement.get_parameters()
        portal = _Portal(self._connection, statement, bind(types, self._step.params))
        try:
            await result.take(await portal.next(result.step()))
        except (asyncpg.DataError, asyncpg.InterfaceError) as error:
            raise misfit(types, error) or error from None
        while not portal.done:
            if result.truncated_by is None:
                await result.take(await portal.next(result.step()))
            else:
                self._meter.allow(math.inf, row=_LARGEST, rows=0, due=_DRAINED)
                await portal.next(_DRAINED)
        return portal.count


class _Portal:
    """A statement being run in steps: what the driver's cursor does, with the command's tag at the end."""

    def __init__(self, connection: Any, statement: Any, args: Row) -> None:  # noqa: ANN401 - private parts of the driver
        self.done = False
        self._protocol = connection._protocol  # noqa: SLF001 - the driver's cursor keeps the tag to itself
        self._state = statement._state  # noqa: SLF001 - as above
        self._statement = statement  # the driver closes one that nobody holds
        self._name: str = connection._get_unique_id("portal")  # noqa: SLF001 - as above
        self._args: Row | None = args
        self._before = 0
        self._tag = b""

    async def next(self, rows: int) -> list[asyncpg.Record]:
        """Return so many rows, or the last ones."""
        args, self._args = self._args, None
        if args is not None:
            told = await self._protocol.bind_execute(self._state, args, self._name, rows, True, None)  # noqa: FBT003
        else:
            told = await self._protocol.execute(self._state, self._name, rows, True, None)  # noqa: FBT003
        records, tag, self.done = told
        if self.done:
            self._tag = tag or b""
        else:
            self._before += rows
        return records or []

    @property
    def count(self) -> int | None:
        """How many rows it wrote or returned; None where that is not counted. The tag tells of the last step alone."""
        last = self._tag.rpartition(b" ")[2]
        return self._before + int(last) if last.isdigit() else None
