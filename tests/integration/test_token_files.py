"""Files of tokens that several write to at the same time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from server.token_file import append_token
from server.tokens import RANDOM_BYTES, line_of, parse, token_of

NOW: Final = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def test_of_tokens_that_are_added_at_the_same_time_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    blocks = [line_of(token_of(bytes([n]) * RANDOM_BYTES), "ann", "reader", ["*"], created=NOW) for n in range(16)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda block: append_token(path, block), blocks))

    assert len(parse(path.read_text())) == len(blocks)
