"""Where the script of each module stands, which no JSON answer of openQA tells but a `test_order` entry
needs.

Sources, best first, each for the modules that the ones before it did not know:

1. the page with a module's source (`script_on_page`): what the slave itself stored, from the moment it knows
   the module; one small request a module. Only where the web UI has the tests on disk, not when CASEDIR is
   the URL of a git repository;
2. the log of os-autoinst, `scheduling <name> <script>` (`autotest.pm`, `loadtest`). Of an ended job it is in
   autoinst-log.txt, which is then asked first, being one request; of a running one in the live log, provided
   nobody watched before;
3. the rule by which os-autoinst makes the category of a script's path, read backwards (`rule`).

A module that another one brought along is named with its script in that one's `extra_test_results`
(`pseudoworker.slave.steps`). Considered and left out: `experimental/search` answers with scripts, but greps
all test distributions and is limited to a few calls a minute for all users together; os-autoinst's command
server does not offer test_order.json."""

import html
import re
from collections.abc import Iterable, Mapping

# "[2026-08-22T10:00:00.123456Z] [debug] [pid:123] scheduling boot tests/install/boot.pm", the process id
# missing in older releases and everything wrapped in colours in newer ones. A name may hold blanks
# (`loadtest` with `name`), a script does not.
_SCHEDULING = re.compile(
    r"^(?:\[[^\]\n]*\] ?|[\d.:]+ )*scheduling (?P<name>\S.*?) (?P<script>\S+\.(?:p[my]|lua))\s*$",
    re.MULTILINE,
)
_COLOUR = re.compile("\x1b\\[[0-9;]*m")

# The page shows the full path on the slave:
# <code>/var/lib/openqa/share/tests/<distri>/tests/install/boot.pm</code>.
_SOURCE_PATH = re.compile(r"<code>\s*([^<>]+?)\s*</code>")

_REPEATED = re.compile(r"#\d+$")


class LogScripts:
    """Collects scripts from a log that comes in pieces; a line may be cut anywhere."""

    LONGEST_LINE = 10_000
    """Characters; the rest of a longer line is not looked at."""

    def __init__(self) -> None:
        self._scripts: dict[str, str] = {}
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next piece of the log."""
        whole, newline, rest = (self._rest + text).rpartition("\n")
        self._rest = rest[: self.LONGEST_LINE]
        if newline:
            self._scripts = {**scripts_in(whole), **self._scripts}

    @property
    def scripts(self) -> Mapping[str, str]:
        """Script by module name, from all lines that are complete."""
        return self._scripts


def scripts_in(log: str) -> dict[str, str]:
    """Script by module name, as far as a log of os-autoinst tells it; the first line about a module
    counts."""
    scripts: dict[str, str] = {}
    for match in _SCHEDULING.finditer(_COLOUR.sub("", log)):
        scripts.setdefault(match["name"], match["script"])
    return scripts


def script_on_page(page: str, distri: str, version: str = "") -> str | None:
    """Read a module's script from the page that shows its source (`OpenQA::WebAPI::Controller::Step`, `src`).

    The path there begins with the slave's own folder, which ends in the distribution or in
    `<distri>-<version>` (`OpenQA::Utils`, `testcasedir`); what follows is the script. None when the page
    does not look like that.
    """
    for found in _SOURCE_PATH.finditer(page):
        path = html.unescape(found[1])
        for folder in (f"/tests/{distri}-{version}/", f"/tests/{distri}/"):
            script = path.partition(folder)[2]
            if script:
                return script
    return None


def rule(name: str, category: str) -> str:
    """Guess a module's script from its name and category, by `parse_test_path` of os-autoinst's `autotest.pm`
    backwards.

    Right for modules below `tests/` that keep their file's name and are written in Perl, which are nearly
    all. For those in `tests/` itself the category is that folder's name, in some releases with the
    distribution's before it.
    """
    folder = "tests" if category == "tests" or category.endswith("/tests") else f"tests/{category}"
    return f"{folder}/{_REPEATED.sub('', name)}.pm"


def complete(modules: Iterable[tuple[str, str]], *sources: Mapping[str, str]) -> dict[str, str]:
    """Give each module a script: from the first source that knows it, else by the rule.

    :param modules: name and category of each.
    """
    return {
        name: next((source[name] for source in sources if name in source), None) or rule(name, category)
        for name, category in modules
    }
