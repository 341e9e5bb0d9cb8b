"""openQA's own Perl modules, asked what they read from a configuration file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Oracle:
    """A running `oracle.pl`: `ini` needs Debian's `libconfig-inifiles-perl`, the rest `openqa-worker`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["perl", str(Path(__file__).with_name("oracle.pl"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                name: value
                for name, value in os.environ.items()
                if name in ("PATH", "PERL5LIB", "OPENQA_LIB")
            },
        )

    def close(self) -> None:
        """End the program."""
        self._process.communicate(timeout=10)

    def ini(self, files: Sequence[Path]) -> tuple[dict[str, dict[str, tuple[str, ...]]], list[list[str]]]:
        """The sections as Config::IniFiles has them, and its errors for each file."""
        answer = self._ask("ini", [str(path) for path in files])
        sections = {
            section: {key: tuple(values) for key, values in entries}
            for section, entries in answer["sections"]
        }
        return sections, answer["errors"]

    def settings(self, directory: Path, instance: int) -> Any:
        """`global`, `hosts` and `host_settings` as OpenQA::Worker::Settings has them."""
        return self._ask("settings", str(directory), instance)

    def credentials(self, directory: Path, host: str) -> tuple[str | None, str | None]:
        """Key and secret as OpenQA::UserAgent has them for `host`."""
        key, secret = self._ask("credentials", str(directory), host)
        return key, secret

    def has_ranges(self) -> bool:
        """Whether the installed openQA is recent enough for ranges, `+=`, `[class:…]` and drop-ins."""
        return bool(self._ask("has_ranges"))

    def _ask(self, *request: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            _, errors = self._process.communicate(timeout=10)
            raise AssertionError(
                "the oracle ended: install Perl's Config::IniFiles (`examples/lab/lab install`, or Debian's "
                f"libconfig-inifiles-perl)\n{errors.decode(errors='replace')}"
            )
        answer = json.loads(line)
        assert "died" not in answer, f"the oracle could not answer {request}: {answer['died']}"
        return answer["answer"]
