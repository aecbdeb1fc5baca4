"""Heads on a Redis whose log has lost entries by hand."""

from collections.abc import Callable

from registry.log import Proposal
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from tests.logs import append_one, head_in


async def test_a_head_is_put_back_although_the_last_entry_was_taken_away(
    redis_log: RedisLog, commands: RedisClient, propose: Callable[..., Proposal]
) -> None:
    start = await redis_log.create("log_created.v1", b"{}", "epoch")
    assert start is not None
    await append_one(redis_log, propose(start))
    end, right = await redis_log.end(), await head_in(redis_log, "acme")
    assert end is not None
    assert right is not None
    await commands.run("XDEL", Names().stream, end.entry)
    await commands.run("HDEL", Names().heads, "acme")

    assert await redis_log.mend_head("acme", right, end)
    assert await head_in(redis_log, "acme") == right
