"""Runs a program as another user, in a directory: `python -I become.py UID GID DIRECTORY -- argv…`. Only root can.

A script and not `subprocess`'s own `user=`, because it goes in front of an argument list, the way `unshare` does.
Fails when that user cannot reach the directory or the program, which is also how one finds out.
"""

import os
import sys


def main(arguments: list[str]) -> str:
    """Replace this process by the program; return (why not) only when that fails."""
    uid, gid, directory, _, *program = arguments
    try:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
        os.chdir(directory)
        os.execv(program[0], program)  # noqa: S606 - running a program is what this file is for; no shell is involved
    except OSError as error:
        return f"user {uid} cannot use {directory} or {program[0]}: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
