# The two commands of this project: `make demo` shows it at work, `make test` runs every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What failed is run once more, alone: a real openQA on a busy machine now and then loses a job to a crash of
# its own. A test that fails twice in a row fails the run.
PYTEST := $(BIN)/python -m pytest -q
AGAIN = || { echo '--- once more, what failed ---'; $(1) --last-failed --last-failed-no-failures none; }

.PHONY: demo test lint unit real lab clean
demo: $(VENV)/ready
	examples/lab/lab install
	$(BIN)/python examples/demo

test: lint unit real

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

UNIT := $(PYTEST) -m 'not real'
unit: $(VENV)/ready
	$(UNIT) $(call AGAIN,$(UNIT))

lab: $(VENV)/ready
	examples/lab/lab install
	examples/lab/lab up

REAL := $(PYTEST) -m real tests/real
real: lab
	$(REAL) $(call AGAIN,$(REAL))

include packaging/install.mk

clean:
	-examples/lab/lab down
	rm -rf $(VENV)
