"""Who Postgres runs as. It refuses root, which is who we are in many a container and on this page's hardest cases.

First choice as root: a user namespace in which we look like somebody else. Files stay root's, no user is needed and
nothing has to be readable by others. Where namespaces are forbidden (a container's default profile): `nobody`, who then
owns the directories and has to be able to reach them.
"""

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from server.embedded.errors import EmbeddedUnavailable

_BECOME = Path(__file__).with_name("become.py")


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who a program runs as.

    Attributes:
        prefix: What goes in front of its argument list.
        uid: Who owns its files, as seen from here.
        gid: Their group.
    """

    prefix: tuple[str, ...]
    uid: int
    gid: int

    def own(self, *paths: Path) -> None:
        """Make the paths, and all below them, belong to this account; nothing to do where they already do."""
        for path in paths:
            if path.stat().st_uid != self.uid:
                self._own_tree(path)

    def _own_tree(self, top: Path) -> None:
        # Contents first: an interrupted walk leaves the top as it was, and is done again.
        for folder, folders, files in os.walk(top, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, self.gid, follow_symlinks=False)
        os.chown(top, self.uid, self.gid)


def account_for(program: Path, home: Path) -> Account:
    """Return an account that `program` is content with and that can use `home`. As root it blocks for some 10 ms."""
    if os.geteuid() != 0:
        return Account(prefix=(), uid=os.geteuid(), gid=os.getegid())
    return _in_namespace() or _as_nobody(program, home)


def _in_namespace() -> Account | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", "--map-user=65534", "--map-group=65534", "--")
    return Account(prefix=prefix, uid=0, gid=0) if _run(*prefix, "true").returncode == 0 else None


def _as_nobody(program: Path, home: Path) -> Account:
    nobody = pwd.getpwnam("nobody")
    prefix = (sys.executable, "-I", str(_BECOME), str(nobody.pw_uid), str(nobody.pw_gid), str(home), "--")
    account = Account(prefix=prefix, uid=nobody.pw_uid, gid=nobody.pw_gid)
    account.own(home)
    probe = _run(*prefix, str(program), "--version")
    if probe.returncode != 0:
        raise EmbeddedUnavailable(
            f"Postgres refuses root, user namespaces are forbidden here, and {probe.stderr.strip()}: start as another "
            "user, or choose a data directory that everybody can reach"
        )
    return account


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own words, no shell
