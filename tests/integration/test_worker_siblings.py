"""Workers of one port that ask each other for their metrics, over the sockets that they would do it by."""

import asyncio
import socket

from server.siblings import Siblings


async def test_siblings_answer_each_other_and_a_large_text_arrives_whole() -> None:
    boxes = {number: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for number in (1, 2)}
    large = b"".join(b"# HELP m%d M.\n# TYPE m%d gauge\nm%d 1.0\n" % ((number,) * 3) for number in range(20_000))
    small = b"# HELP clients Clients.\n# TYPE clients gauge\nclients 3.0\n"
    one = Siblings(1, boxes[1][0], {2: boxes[2][1]}, lambda: small)
    two = Siblings(2, boxes[2][0], {1: boxes[1][1]}, lambda: large)
    try:
        async with one.answering(), two.answering():
            told, others = await asyncio.gather(one.metrics(), two.metrics())
    finally:
        for both in boxes.values():
            for box in both:
                box.close()
    assert told.count(b'{worker="2"}') == 20_000 + 1
    assert b'clients{worker="1"} 3.0' in others
