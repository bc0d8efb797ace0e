# Everything depends on `make setup`, which makes .venv from requirements.lock and does nothing the second time.
.PHONY: setup demo test test-fast lint format airflow lock clean
.DEFAULT_GOAL := help
# .ci/setup compiles the packages; without this, processes would still compile the project's own modules at each start.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin

help:
	@echo "make demo       environment, sample catalog, the Airflow DAG from download to publish, server and web page"
	@echo "make test       all tests"
	@echo "make test-fast  tests without Spark, Airflow, a browser, Redis or other processes: under a minute"
	@echo "make lint       ruff, pyright, import contracts"
	@echo "make airflow    a standalone Airflow with the DAGs, the gpu pool and the Spark connection in place"
	@echo "make lock       resolve requirements.lock again"

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml .ci/setup
	@.ci/setup
	@touch $@

demo: setup
	@$(BIN)/lookalike demo

# Tests that start no other programs run two at a time; the others have the machine to themselves, but for those of
# Kafka, which mostly wait: for members to join a group, and for one that died to be missed.
ALONE := spark or airflow or browser or redis or postgres or pgvector or axe or milvus or e2e or kafka or server

test: setup
	@$(BIN)/pytest -n 2 -m "not ($(ALONE))"
	@$(BIN)/pytest -m "($(ALONE)) and not kafka"
	@$(BIN)/pytest -n 4 -m kafka

# What a change is tried with while it is written.
test-fast: setup
	@$(BIN)/pytest -q -n 2 -m "not ($(ALONE) or slow)"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

airflow: setup
	@.ci/airflow

# Versions and hashes of every package, for Python 3.11 on Linux, without the URL of any index.
lock: setup
	@$(BIN)/uv pip compile --quiet pyproject.toml --python-version 3.11 \
	  --extra cpu --extra serve --extra pipeline --extra stream --extra bench --extra airflow \
	  --extra pgvector --extra milvus --extra qdrant --extra pinecone --extra redis --group dev \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:
	rm -rf .venv .airflow demo .pytest_cache .ruff_cache .hypothesis
