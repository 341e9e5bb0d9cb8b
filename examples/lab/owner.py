"""Who the lab's processes run as: an unprivileged user, since PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.lab.errors import LabError

# made by Debian's openqa package for exactly this
OPENQA_USER = "geekotest"


@dataclass(frozen=True)
class Owner:
    """A user by its numbers; the same numbers are used in the roots of other releases."""

    uid: int
    gid: int

    @property
    def pair(self) -> tuple[int, int]:
        """Both numbers, as os.chown takes them."""
        return (self.uid, self.gid)

    def command(self, command: Sequence[str], root: Path | None = None) -> list[str]:
        """The command that runs `command` as this user, within another root directory if one is given.

        The pid stays the same, since chroot replaces itself. The working directory becomes /.
        """
        if os.getuid() == self.uid and root is None:
            return list(command)
        return [
            "/usr/sbin/chroot",
            f"--userspec={self.uid}:{self.gid}",
            "--groups=",
            str(root or "/"),
            *command,
        ]

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        root: Path | None = None,
        accepted: Sequence[int] = (0,),
    ) -> None:
        """Runs a command to its end as this user.

        Raises LabError with the end of its output when its exit status is not an accepted one.
        """
        done = subprocess.run(
            self.command(command, root),
            check=False,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode not in accepted:
            raise LabError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")


def lab_owner() -> Owner:
    """openQA's user when we are root, otherwise ourselves.

    Raises LabError when we are root and there is no such user, since openQA is not installed.
    """
    if os.getuid() != 0:
        return Owner(os.getuid(), os.getgid())
    try:
        user = pwd.getpwnam(OPENQA_USER)
    except KeyError:
        raise LabError(f"there is no user {OPENQA_USER}: run `examples/lab/lab install`") from None
    return Owner(user.pw_uid, user.pw_gid)
