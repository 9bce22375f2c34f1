# blkcolo: make run, make test; make help lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
DATA ?= blkcolo-data
SIZE ?= 1G
PYTEST_ARGS ?=
# On a busy machine a real process may miss a deadline once: in CI a failure is tried a
# second time, and the closing line counts these. What fails twice is red.
RERUNS := $(if $(filter true,$(CI)),--reruns 1)
SEEDS ?= 500
FROM ?= 0
SEED ?=
TRACE ?=
DIR ?= /dev/shm
QUICK ?=
ROUNDS ?= 100

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(TEST_STAMP): pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing the tests' tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(STAMP)

$(BENCH_STAMP): $(TEST_STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

.PHONY: run
run: $(STAMP) ## Run the three services here until Ctrl-C.
	@exec $(BIN)/blkcolo up --data $(DATA) --size $(SIZE)

.PHONY: clients
clients: ## Install the NBD clients that the tests run (Debian, as root).
	@sh tests/install-clients.sh

.PHONY: test
test: clients check ## Run all checks and all tests.
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --no-header $(RERUNS) $(PYTEST_ARGS)

.PHONY: bench-resync
bench-resync: $(TEST_STAMP) ## Measure what a VM keeps of its speed during a first copy.
	@$(BIN)/python -m tests.bench.resync_share

.PHONY: bench
bench: $(BENCH_STAMP) ## Compare with QEMU replication, nbdkit and qemu-nbd (DIR=, QUICK=1).
	@sh tests/bench/install-peers.sh
	@$(BIN)/python -m tests.bench compare --dir $(DIR) $(if $(QUICK),--size 128M --rounds 1 --seconds 1)

.PHONY: soak
soak: $(TEST_STAMP) ## Kill services at random under load (ROUNDS=100, SEED=random).
	@$(BIN)/python -m tests.fault.soak --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

.PHONY: large
large: $(TEST_STAMP) ## Fail over with 4 GiB of undo; hold 8 GiB in bounded memory.
	@BLKCOLO_LARGE=1 $(BIN)/python -m pytest -q -s --no-header tests/integration/test_large_buffer.py

.PHONY: sim
sim: $(TEST_STAMP) ## Simulate SEEDS=500 FROM=0, or replay SEED=7 TRACE=1.
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace),--seeds $(SEEDS) --start $(FROM))

.PHONY: bench-growth bench-memory
bench-growth bench-memory: $(BENCH_STAMP) ## Plot costs by rate, size and groups; memory over 10 minutes.
	@sh tests/install-clients.sh
	@$(BIN)/python -m tests.bench $(@:bench-%=%) --dir $(DIR) $(if $(QUICK),--seconds 2,$(if $(filter %memory,$@),--seconds 600))

.PHONY: bench-checkpoints bench-failover bench-cost bench-scale bench-cores bench-coordinator
bench-checkpoints bench-failover bench-cost bench-scale bench-cores bench-coordinator: $(TEST_STAMP) ## Measure these (DIR=, QUICK=1).
	@sh tests/install-clients.sh
	@$(BIN)/python -m tests.bench $(@:bench-%=%) --dir $(DIR) $(if $(QUICK),--size 64M --seconds 2)

.PHONY: bench-counts
bench-counts: $(TEST_STAMP) ## Take the hot paths' operation counts as what is allowed.
	@$(BIN)/python -m tests.bench counts

.PHONY: check
check: $(TEST_STAMP) ## Run all static checks.
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/buf format -d --exit-code proto
	$(BIN)/buf lint proto
	@PYTHON=$(abspath $(BIN)/python) sh proto/generate.sh
	git diff --exit-code --stat -- services/common/blkcolo/v1
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: generate
generate: $(TEST_STAMP) ## Make the generated code anew from proto/.
	@PYTHON=$(abspath $(BIN)/python) sh proto/generate.sh

.PHONY: format
format: $(TEST_STAMP) ## Format code and protos.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .
	$(BIN)/buf format -w proto

.PHONY: clean
clean: ## Remove what was built; keeps $(DATA).
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
