"""What a column of a result is called, and of what type it is."""

import msgspec


class Column(msgspec.Struct, frozen=True):
    """One column of a result: its name, and its Postgres type as it is commonly written (`int8`, `text[]`)."""

    name: str
    type: str
