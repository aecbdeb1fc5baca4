"""A client of a real `serve --stdio` that writes whatever bytes it likes, and reads every line that comes."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, cast

from tests.processes import COMMAND, clean

PATIENCE: Final = 15.0
"""Seconds without a line, after which the server hangs."""


class StdioClient:
    """One process.

    Args:
        env: What it is started with.
        log: Where its standard error goes.
    """

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                [COMMAND, "serve", "--stdio"],
                env=clean(dict(env)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._in = cast("IO[bytes]", self._popen.stdin)
        self._out = cast("IO[bytes]", self._popen.stdout)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, data: bytes) -> None:
        self._in.write(data)
        self._in.flush()

    def next(self) -> Any:  # noqa: ANN401 - JSON
        """Return the next line, which must be JSON-RPC and nothing else; raise `TimeoutError` when none comes."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise TimeoutError("nothing comes any more: the server hangs, or owes an answer") from None
        assert line is not None, f"the server ended by itself, with {self._popen.wait(PATIENCE)}"
        return spoken(line)

    def rss(self) -> int:
        """Return the bytes of memory that it holds."""
        pages = Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def close(self) -> list[Any]:
        """Close its input; return what it still says until it has ended, which must be well."""
        self._in.close()
        assert self._popen.wait(PATIENCE) == 0
        self._reader.join(PATIENCE)
        rest: list[Any] = []
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            rest.append(spoken(line))
        return rest

    def end(self) -> None:
        """End it, however it is."""
        self._popen.kill()
        self._popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._out.close()
        with suppress(BrokenPipeError):
            self._in.close()

    def _read(self) -> None:
        for line in self._out:
            self._lines.put(line)
        self._lines.put(None)


def spoken(line: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return a line as JSON; it must be one message, or an array of answers."""
    assert line.endswith(b"\n"), line
    told = json_of(line)
    for message in told if isinstance(told, list) else [told]:
        assert message.get("jsonrpc") == "2.0", line
        is_answer = "id" in message and ("result" in message) != ("error" in message)
        assert is_answer or (isinstance(message.get("method"), str) and not isinstance(told, list)), line
    return told


def json_of(text: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return what a text says; of an integer that Python does not read, nothing: stdio answers such an id as none."""
    return json.loads(text.decode(), parse_constant=_no_json, parse_int=_integer)


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) < sys.int_info.default_max_str_digits else None


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
