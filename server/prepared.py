"""Statements that stay prepared on one connection, so that one that comes again costs neither parsing nor planning.

They are named after their text: behind a pooler that hands a session from client to client, a name then always means
the same statement, whichever client prepared it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import asyncpg
from asyncpg import Connection

from server.columns import Column
from server.flat_columns import retyped
from server.row_encoding import RowEncoder

AT_MOST: Final = 32
"""Statements kept prepared: Postgres keeps a plan of each, some ten to a hundred kilobytes."""
_LONGEST: Final = 1 << 13
"""Characters of a text that is kept."""
_OF_PARAMETERS: Final = b"t"


class Prepared(NamedTuple):
    """A statement as the driver knows it.

    Attributes:
        state: The driver's own.
        parameters: The types of `$1 … $n`.
        columns: The columns, as they are told.
        encoder: Makes JSON of the rows.
        told: What tells one description by the server from another.
    """

    state: Any
    parameters: Sequence[asyncpg.Type]
    columns: list[Column]
    encoder: RowEncoder
    told: bytes


class Description:
    """What the server says of a statement's parameters and columns, message by message.

    Args:
        expected: What `told` of it is to be; None if anything is right.

    Attributes:
        whole: Whether all of it has come.
    """

    def __init__(self, expected: bytes | None = None) -> None:
        self._expected = expected
        self._hash = blake2b(digest_size=16)
        self.whole = False

    @property
    def told(self) -> bytes:
        """What tells it from another."""
        return self._hash.digest()

    @property
    def differs(self) -> bool:
        """Whether it is whole and another one than was expected."""
        return self.whole and self._expected is not None and self.told != self._expected

    def add(self, message: bytes) -> None:
        """Take one of its messages: the parameters, then the columns, or that there are none."""
        self._hash.update(message)
        self.whole = message[:1] != _OF_PARAMETERS


class Statements:
    """What is prepared on one connection.

    Attributes:
        named: Whether they stay in the server's session. Where they cannot (a pooler that gives each transaction
            another session), what is known of them stays here, and each run sends the text again in the same packet.
        coming: The description that comes next; None when none was asked for.
    """

    def __init__(self) -> None:
        self.named = True
        self._describing = False
        self.coming: Description | None = None
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._surplus: list[str] = []

    def get(self, text: str) -> Prepared | None:
        """Return the statement, if it is prepared."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
        return known

    async def prepare(self, connection: Connection, text: str) -> Prepared:
        """Have it prepared, and keep it. One round trip, and more for types that the connection has not seen.

        Raises what the driver raises. May be cancelled.
        """
        driver: Any = connection
        keep = len(text) <= _LONGEST
        # The public way has it closed as soon as nobody holds the driver's object.
        self._describing = True
        self.coming = description = Description()
        try:
            state = await driver._get_statement(  # noqa: SLF001
                text, None, named=_name(text) if keep and self.named else False, use_cache=False
            )
        finally:
            self._describing, self.coming = False, None
        attributes = state._get_attributes()  # noqa: SLF001 - as above
        prepared = Prepared(
            state,
            state._get_parameters(),  # noqa: SLF001 - as above
            [Column(attribute.name, attribute.type.name) for attribute in attributes],
            RowEncoder([attribute.type for attribute in attributes]),
            description.told,
        )
        if keep:
            self._keep(text, prepared)
        return prepared

    def forget(self, text: str) -> None:
        """Prepare it anew the next time."""
        known = self._kept.pop(text, None)
        if known is not None and known.state.name:
            self._surplus.append(known.state.name)

    def forget_all(self) -> None:
        """Know that the session has none any more."""
        self._kept.clear()
        self._surplus.clear()

    def distrust_names(self) -> None:
        """Keep no statement in the session from now on: it is not ours from one transaction to the next."""
        self.named = False
        self.forget_all()

    @property
    def awaits_description(self) -> bool:
        """Whether a message that describes a statement means one that was asked about."""
        return self.coming is not None and not self.coming.whole

    def differ_by(self, message: bytes) -> bool:
        """Note one message of the description that is awaited; return whether it is another one than was expected."""
        if self.coming is None:
            return False
        self.coming.add(message)
        return self.coming.differs

    def described(self, answer: bytes) -> bytes:
        """Return an answer with the description that it begins with changed to what the driver is to read it as."""
        if not self._describing:
            return answer
        self._describing = False
        return retyped(answer)

    @property
    def surplus(self) -> tuple[str, ...]:
        """The names that the session is to be rid of."""
        return tuple(self._surplus)

    def forget_surplus(self, names: Sequence[str]) -> None:
        """Know that the session is rid of these."""
        self._surplus = [name for name in self._surplus if name not in names]

    def _keep(self, text: str, prepared: Prepared) -> None:
        self._kept[text] = prepared
        if len(self._kept) > AT_MOST:
            self.forget(next(iter(self._kept)))


def _name(text: str) -> str:
    return f"mcp_{blake2b(text.encode(), digest_size=15).hexdigest()}"
