# `make` lists the targets. Each one that runs Python sets up .venv first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 5000
# The environment's own commands come first on the PATH: MLflow projects start `python` by name.
VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
PY := $(VENV) .venv/bin/python
# MLflow's usage reports are off unless asked for.
MLFLOW_DISABLE_TELEMETRY ?= true
export MLFLOW_DISABLE_TELEMETRY

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: java .venv/installed ## Check Java, and make .venv from requirements.lock (again when the lock is newer)

.PHONY: java
java:
	@.ci/check-java

.venv/installed: requirements.lock
	@.ci/make-venv
	@touch $@

.PHONY: demo
demo: setup ## Prepare, train, promote and stream on sample leads, and show the scored leads
	$(PY) -m pipelines.demo

.PHONY: archive
archive: setup ## Archive Spark's classes (200 MB, two minutes, once): every command with Spark then takes seconds less
	@$(PY) -m pipelines.class_archive

# Much of a test's time goes into processes that start, one core each: two files at a time take three fifths of it.
# They are taken as they are listed, those that start services first: by their number of tests, a file with one long
# test would come last and alone.
WORKERS ?= 2
# No test runs for long enough to win back what Java's second compiler takes: a fifth of the processors' time.
# Java would keep 48 MB for its code then, which a session of tests outgrows.
TEST_JAVA ?= -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m

.PHONY: test
test: setup ## Run the whole test suite (WORKERS=2 files at a time)
	-@$(PY) -m pipelines.class_archive  # tests go without it where this Java makes none
	SPARK_SUBMIT_OPTS="$(TEST_JAVA)" $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: bench
bench: setup jars ## Measure batch, online, sweep, training and stream beside their peers (LEADS_CSV=PATH for the real leads)
	$(PY) -m benchmarks

.PHONY: bench-stream
bench-stream: setup jars ## Measure the stream beside the original's design and a bare Kafka relay
	$(PY) -m benchmarks.stream

.PHONY: soak
soak: setup jars ## Kill the stream 20 times over 20,000 events: each must be stored exactly once
	REQUIRE_SERVICES=1 SOAK_KILLS=20 SOAK_EVENTS=20000 $(PY) -m pytest tests/integration/test_killed_stream.py -k random

.PHONY: jars
jars: ## Fetch Spark's Kafka connector, and the broker that tests start, into .jars (needs Maven)
	@.ci/fetch-jars

.PHONY: lint
lint: .venv/installed ## Check style, format, types and the import rules between the rooms
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV) lint-imports

.PHONY: format
format: .venv/installed ## Format the code and mend what ruff can mend
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

.PHONY: package
package: .venv/installed ## Pack the code for spark-submit --py-files (dist/lead_scoring.zip)
	@$(PY) -m pipelines.package

.PHONY: ui
ui: .venv/installed ## Open the MLflow UI on the embedded store (PORT=5000)
	@echo "MLflow UI: http://127.0.0.1:$(PORT) (stop it with Ctrl-C)"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(PY) -m mlflow server --host 127.0.0.1 --port $(PORT) --workers 1 \
		--backend-store-uri sqlite:///mlflow.db --artifacts-destination mlruns

.PHONY: lock
lock: ## Resolve requirements.in into requirements.lock and conda.yaml (UPGRADE=--upgrade for newer releases)
	@uv --version >/dev/null 2>&1 || { echo "make lock needs uv; run: pip install uv" >&2; exit 2; }
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.lock $(UPGRADE) requirements.in
	@python=$$(.ci/find-python) && "$$python" .ci/write_conda.py

.PHONY: parameters
parameters: .venv/installed ## Write docs/parameters.md from the commands and settings
	@$(PY) .ci/write_parameters.py

.PHONY: clean
clean: ## Remove caches and Spark's leftovers (keeps .venv, data, mlflow.db and mlruns)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache spark-warehouse metastore_db derby.log
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
