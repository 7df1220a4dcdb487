# Everything runs in .venv, which `make install` makes; no target needs it activated.

# The oldest supported Python first: what runs there runs on the newer ones.
# Each candidate is tried, because a version manager may offer a name that it cannot run.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif

BIN := .venv/bin

# Processes that share the tests, file by file: one more than there are cores, because a good third of the time is spent
# waiting for brokers and workers; at most four, because each may start a broker and workers of its own (about 1.5 GB).
JOBS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 3 ? n + 1 : 4)))
STAMP := .venv/.installed

.PHONY: help install demo test lint types format kafka faults bench quality peers clean

help: ## say what the targets do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Made again when the dependencies change; a second run finds the stamp and downloads nothing.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "driftline needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(STAMP) ## make .venv with driftline and what its tests need

demo: install ## play the whole story on an embedded Kafka and Redis
	@$(BIN)/driftline demo

test: lint types kafka ## lint, types and every test, on a real Kafka and a real Redis
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
		--ignore tests/faults/test_short.py
	@# Alone: a fault must land while work is in flight, which other tests on the same cores would blur.
	$(BIN)/python -m pytest tests/faults/test_short.py

lint: install ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy --strict
	$(BIN)/mypy

format: install ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Without Java or Maven the tests that need the broker say so themselves; with CI=true they fail.
kafka: install ## fetch Apache Kafka for the tests into .cache
	@$(BIN)/python -m tests.services.kafka || test "$$CI" != true

faults: kafka ## every fault on real processes, a soak of an hour, and the figures of docs/reliability.md (an hour and fifty minutes)
	$(BIN)/python -m tests.faults --soak 3600 --lanes 3 --json loadtest/results/faults.json --page docs/reliability.md

bench: install ## events per CPU-second through the whole pipeline, and speed and size of the statistics
	$(BIN)/python -m loadtest throughput
	$(BIN)/python -m loadtest detectors

quality: install ## false alarms, delays and power on streams with known truth (about 20 minutes)
	$(BIN)/python -m loadtest quality

# An environment of their own, because they need older libraries; `bench` and `quality` find it and run without it.
PEERS := .cache/peers
peers: $(PEERS)/.installed ## fetch evidently, nannyml and whylogs into .cache, to be measured beside

$(PEERS)/.installed: loadtest/peers/requirements.txt
	@test -n "$(PYTHON)" || { echo "driftline needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean: ## remove what was made or fetched
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
