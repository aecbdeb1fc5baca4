"""The garbage collector of a process that serves; in a process of its own, for it is the whole process's."""

import json
import subprocess
import sys
from typing import Final

_PROGRAM: Final = """
import asyncio, gc, json, weakref
from server import collector

class Cycle:
    def __init__(self):
        self.me = self

class Follower:
    async def complete(self):
        await asyncio.sleep(0)

async def main():
    collector._SETTLED = 0
    kept, lost = Cycle(), Cycle()
    seen = weakref.ref(lost)
    del lost
    await collector.keep_out_of_the_way(Follower())
    looked_through = any(each is kept for each in gc.get_objects())
    later = weakref.ref(Cycle())
    gc.collect()
    print(json.dumps({
        "lost": seen() is None,
        "aside": gc.get_freeze_count() > 1000 and not looked_through,
        "later": later() is None,
        "young": gc.get_threshold()[0],
    }))

asyncio.run(main())
"""


def test_what_stays_is_set_aside_what_is_garbage_is_not_and_later_garbage_is_collected() -> None:
    told = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == {"lost": True, "aside": True, "later": True, "young": 10_000}
