# One command each. Everything is installed into .venv from the pinned versions of constraints.txt.

PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3.13 python3,$(shell command -v $(python))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST_ARGS ?= -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types doctest docs bench index matrix schema constraints clean

help:             ## list these targets
	@grep -E '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.core   ## install, then train on scikit-learn's handwritten digits and write a report
	$(BIN)/sonde train digits

test: $(VENV)/.dev   ## install with the test tools, then run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types doctest docs test   ## everything a change must pass

lint: $(VENV)/.dev   ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev   ## mypy: strict on the core, plain elsewhere
	$(BIN)/mypy --strict src/sonde/core
	$(BIN)/mypy

doctest: $(VENV)/.dev   ## the examples in docstrings
	$(BIN)/python -m pytest --doctest-modules src/sonde tools/index.py

docs: $(VENV)/.docs   ## build the site into site/; the build fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.bench   ## the training loop against other libraries, in one run
	$(BIN)/python benchmarks/loop.py

index: $(VENV)/.dev   ## write docs/INDEX.md again
	$(BIN)/python tools/index.py

matrix: $(VENV)/.dev   ## write docs/matrix.md again, by trying every pair of methods
	$(BIN)/python tools/matrix.py

schema: $(VENV)/.dev   ## write docs/audit.schema.json again, the JSON schema of audit.json
	$(BIN)/python tools/schema.py

constraints: $(VENV)/.dev $(VENV)/.docs   ## write constraints.txt again from what .venv holds
	$(BIN)/python tools/constraints.py

clean:            ## remove .venv and everything built; runs/ stays
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A change to the dependencies or to the pins installs again.
$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: $(VENV)/.core
	$(PIP) --editable '.[$*]'
	@touch $@
