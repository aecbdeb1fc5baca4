"""Registrations as people send them, field by field, all but what a test is about."""

from typing import Final

from hypothesis import strategies as st

from registry.inputs import Limits, Registration, from_fields
from registry.secrets import Secret

CANARY: Final = "s3cr3t-canary"
"""Stands in every password below; no message may hold it."""

passwords = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(lambda text: "\x00" not in text)
printable = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=15
)  # at most 60 bytes, as Postgres allows 63


def register(
    *,
    host: str | None = "db",
    database: str | None = "app",
    user: str | None = "u",
    password: str | None = CANARY,
    port: int | None = None,
    ssl: str | bool | None = None,
    ssl_root_ca: str | None = None,
    limits: Limits | None = None,
) -> Registration:
    secret = None if password is None else Secret(password)
    return from_fields(
        host=host,
        database=database,
        user=user,
        password=secret,
        port=port,
        ssl=ssl,
        ssl_root_ca=ssl_root_ca,
        limits=limits,
    )


def password_of(registration: Registration) -> str | None:
    return registration.password.reveal() if registration.password else None
