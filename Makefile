# blkcolo: make run, make test; make help lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
DATA ?= blkcolo-data
SIZE ?=
PYTEST_ARGS ?=
# On a busy machine a real process may miss a deadline once: in CI a failure is tried a
# second time, and the closing line counts these. What fails twice is red.
RERUNS := $(if $(filter true,$(CI)),--reruns 1)
SEEDS ?= 500
FROM ?= 0
SEED ?=
TRACE ?=
ROUNDS ?=
# Of the benchmarks, with SIZE and ROUNDS; what is not named is as in docs/performance.md.
DIR ?=
DISK ?=
SECONDS ?=
ONLY ?=
OUT ?=
QUICK ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '%-12s %s\n' bench-NAME 'One benchmark: $(BENCHES).'

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
	@exec $(BIN)/blkcolo up --data $(DATA) --size $(or $(SIZE),1G)

.PHONY: clients
clients: ## Install the NBD clients that the tests run (Debian, as root).
	@sh tests/install-clients.sh

.PHONY: test
test: clients check ## Run all checks and all tests.
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --no-header $(RERUNS) $(PYTEST_ARGS)

.PHONY: soak
soak: $(TEST_STAMP) ## Kill services at random under load (ROUNDS=100, SEED=random).
	@$(BIN)/python -m tests.fault.soak --rounds $(or $(ROUNDS),100) $(if $(SEED),--seed $(SEED))

.PHONY: large
large: $(TEST_STAMP) ## Fail over with 4 GiB of undo; hold 8 GiB in bounded memory.
	@BLKCOLO_LARGE=1 $(BIN)/python -m pytest -q -s --no-header tests/integration/test_large_buffer.py

.PHONY: sim
sim: $(TEST_STAMP) ## Simulate SEEDS=500 FROM=0, or replay SEED=7 TRACE=1.
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace),--seeds $(SEEDS) --start $(FROM))

BENCHES := compare checkpoints failover cpu floors cost scale coordinator cores resync growth disk memory
# One word for the shell, whatever is in it; nothing where nothing was named.
option = $(if $2,$1='$(subst ','\'',$2)')
# All that was named, to every command: each refuses what it does not take.
BENCH_OPTIONS = $(call option,--dir,$(DIR)) $(call option,--disk,$(DISK)) $(call option,--only,$(ONLY)) \
	$(call option,--size,$(SIZE)) $(call option,--seconds,$(SECONDS)) $(call option,--rounds,$(ROUNDS)) \
	$(call option,--quick,$(QUICK))
BENCH_OUT = $(call option,--out,$(OUT))

# docs/performance.md says what each measures, and which of the options it takes.
.PHONY: bench bench-all $(BENCHES:%=bench-%)
bench: bench-compare ## Compare with QEMU, nbdkit, qemu-nbd (DIR= SIZE= SECONDS= ROUNDS= OUT= QUICK=1).
$(BENCHES:%=bench-%): bench-%: $(BENCH_STAMP)
	@sh tests/bench/peers/install.sh
	@exec $(BIN)/python -m tests.bench $* $(BENCH_OPTIONS) $(BENCH_OUT)

bench-all: $(BENCH_STAMP) ## All benchmarks, half an hour (DIR= DISK= ONLY=cpu,cost OUT= QUICK=1), see docs/performance.md.
	@sh tests/bench/peers/install.sh
	@exec $(BIN)/python -m tests.bench all $(BENCH_OPTIONS) $(BENCH_OUT)

.PHONY: bench-docs
bench-docs: $(BENCH_STAMP) ## Take what was measured (OUT=) as the docs' figures and tables.
	@$(BIN)/python -m tests.bench docs $(BENCH_OPTIONS) $(call option,--from,$(OUT))

.PHONY: bench-counts
bench-counts: $(TEST_STAMP) ## Take the hot paths' operation counts as what is allowed.
	@$(BIN)/python -m tests.bench counts $(BENCH_OPTIONS) $(BENCH_OUT)

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
