# The two commands of this project: `make demo` shows it at work, `make test` runs every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What failed is run once more, alone: a real openQA on a busy machine now and then loses a job to a crash of
# its own. A test that fails twice in a row fails the run.
PYTEST := $(BIN)/python -m pytest -q
AGAIN = || { echo '--- once more, what failed ---'; $(1) -n 0 --last-failed --last-failed-no-failures none; }

.PHONY: demo test lint unit kills crash soak fuzz real long lab clean
demo: $(VENV)/ready
	examples/lab/lab install
	$(BIN)/python -m examples.demo

test: lint unit kills real

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The core: what decides, and what reads bytes from outside. Every branch of it is tested without a socket or a clock.
CORE := pseudoworker/bridge/lifecycle.py,pseudoworker/bridge/endings.py,pseudoworker/bridge/settings.py,$\
pseudoworker/bridge/scrub.py,pseudoworker/bridge/assets/names.py,pseudoworker/bridge/assets/products.py,$\
pseudoworker/bridge/assets/identity.py,pseudoworker/config/*,pseudoworker/slave/steps.py,pseudoworker/slave/files.py,$\
pseudoworker/slave/scripts.py,pseudoworker/slave/posting.py,pseudoworker/openqa/chunks.py,pseudoworker/openqa/errors.py,$\
pseudoworker/openqa/events.py,pseudoworker/openqa/failures.py,pseudoworker/openqa/json.py,pseudoworker/openqa/messages.py,$\
pseudoworker/openqa/names.py,pseudoworker/openqa/retry.py,pseudoworker/openqa/signing.py,pseudoworker/openqa/states.py,$\
pseudoworker/openqa/urls.py,pseudoworker/openqa/values.py,pseudoworker/openqa/views.py
UNIT := $(BIN)/coverage run -m pytest -q tests/unit -m 'not real'
SOCKETS := $(PYTEST) -n 6 --dist worksteal --ignore=tests/unit --ignore=tests/real -m 'not real and not crash'
KILLS := $(PYTEST) -s -o cache_dir=.pytest_cache/kills tests/crash
unit: $(VENV)/ready
	$(UNIT) $(call AGAIN,$(BIN)/coverage run --append -m pytest -q tests/unit -m 'not real')
	$(BIN)/coverage report --skip-covered --fail-under=100 --include='$(CORE)'
	$(SOCKETS) $(call AGAIN,$(SOCKETS))

# Kills the process at its writes, requests and messages: a sample of them, two of each kind.
kills: $(VENV)/ready
	$(KILLS) $(call AGAIN,$(KILLS))

# At every one of them: ten minutes, and not part of `make test`.
crash: $(VENV)/ready
	CRASH_EACH=1000000 $(KILLS)

# A thousand jobs through 20 slots, with random faults and kills; three minutes.
soak: $(VENV)/ready
	$(BIN)/python -m tests.soak

# Every parser of what comes from outside, with so many spoiled examples of each kind; some twenty minutes.
FUZZ_EXAMPLES ?= 5000
fuzz: $(VENV)/ready
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) --timeout 3600 tests/fuzz tests/unit

lab: $(VENV)/ready
	examples/lab/lab install --browser
	examples/lab/lab up

# Between real instances: single jobs, graphs, kills of the process and restarts of the servers.
REAL := PYTEST_DEBUG_TEMPROOT=$(CURDIR)/$(VENV)/real $(PYTEST) -o cache_dir=.pytest_cache/real tests/real
SHORT := $(REAL) -m 'real and not long'
real: lab
	mkdir -p $(VENV)/real
	$(SHORT) $(call AGAIN,$(SHORT))

# The other graphs and kills, ten minutes more.
long: lab
	mkdir -p $(VENV)/real
	$(REAL) -m 'real and long'

# Real instances of other releases in pairs, and the table of docs/compatibility.md: an hour, and not part of `make test`.
.PHONY: matrix
matrix: $(VENV)/ready
	examples/lab/lab install
	$(BIN)/python -m tests.real.matrix --write

include packaging/install.mk

clean:
	-examples/lab/lab down
	rm -rf $(VENV)
