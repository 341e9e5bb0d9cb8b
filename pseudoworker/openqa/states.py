"""openQA's job states and results, and what groups of them mean (OpenQA::Jobs::Constants)."""

from __future__ import annotations

SCHEDULED = "scheduled"
ASSIGNED = "assigned"
SETUP = "setup"
RUNNING = "running"
UPLOADING = "uploading"
CANCELLED = "cancelled"
DONE = "done"

PRISTINE_STATES = frozenset({SCHEDULED, ASSIGNED})
"""No worker has reported anything yet."""
EXECUTION_STATES = frozenset({ASSIGNED, SETUP, RUNNING, UPLOADING})
"""A worker has the job."""
FINAL_STATES = frozenset({DONE, CANCELLED})
STATES = EXECUTION_STATES | FINAL_STATES | {SCHEDULED}

NONE = "none"
PASSED = "passed"
SOFTFAILED = "softfailed"
FAILED = "failed"
INCOMPLETE = "incomplete"
SKIPPED = "skipped"
OBSOLETED = "obsoleted"
PARALLEL_FAILED = "parallel_failed"
PARALLEL_RESTARTED = "parallel_restarted"
USER_CANCELLED = "user_cancelled"
USER_RESTARTED = "user_restarted"
TIMEOUT_EXCEEDED = "timeout_exceeded"

OK_RESULTS = frozenset({PASSED, SOFTFAILED})
COMPLETE_RESULTS = OK_RESULTS | {FAILED}
"""The test ran to an end of its own."""
NOT_COMPLETE_RESULTS = frozenset({INCOMPLETE, TIMEOUT_EXCEEDED})
ABORTED_RESULTS = frozenset(
    {SKIPPED, OBSOLETED, PARALLEL_FAILED, PARALLEL_RESTARTED, USER_CANCELLED, USER_RESTARTED}
)
"""Somebody or something else ended it."""
ENDED_BY_OTHERS = frozenset({SKIPPED, PARALLEL_FAILED, PARALLEL_RESTARTED})
"""What becomes of a job when another one that it depends on, or runs in parallel with, ends or is restarted
(OpenQA::Schema::Result::Jobs, `_job_stop_cluster` and `auto_duplicate`)."""
NOT_OK_RESULTS = ABORTED_RESULTS | NOT_COMPLETE_RESULTS | {FAILED}
RESULTS = OK_RESULTS | NOT_OK_RESULTS | {NONE}
CANCELED = "canceled"
"""What os-autoinst writes as the result of the module in which a test was stopped (autotest.pm); openQA
keeps it."""
MODULE_RESULTS = frozenset({CANCELED, CANCELLED, FAILED, NONE, PASSED, RUNNING, SKIPPED, SOFTFAILED})

FINISHED_MODULE_RESULTS = MODULE_RESULTS - {NONE, RUNNING}
"""The module will not change any more."""

COMMON_RESULT_FILES = (
    "vars.json",
    "autoinst-log.txt",
    "worker-log.txt",
    "worker_packages.txt",
    "sut_packages.txt",
)
"""Files that a worker uploads for each job; `sut_packages.txt` since 2024."""
