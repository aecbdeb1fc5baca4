"""The Lua scripts that ship with this program."""

import hashlib
from importlib import resources


class Script:
    """A Lua script that ships with a package, in one file or more, known to Redis by its digest."""

    def __init__(self, package: str, *names: str) -> None:
        self.text = "".join(resources.files(package).joinpath(name).read_text("utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
