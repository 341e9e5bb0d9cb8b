"""Settings of all tests.

`FUZZ_EXAMPLES=20000 python -m pytest tests/fuzz` (or `make fuzz`) looks at so many examples of each property
that names no number of its own, and at others each time."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")),
    suppress_health_check=list(HealthCheck),
    derandomize=False,
    database=None,
)
settings.load_profile("fuzz" if "FUZZ_EXAMPLES" in os.environ else "untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that runs the tests in the background has it ignored, and so would all processes of theirs
    signal.signal(signal.SIGINT, signal.default_int_handler)
