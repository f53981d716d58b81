# Peel: the interface for people. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV := .venv/bin/uv
export UV_NO_PROGRESS := 1
# The environments are this project's own, whatever shell they are made from.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help run stop test test-fast lint docs bench picture clean lock

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/bin/uv: requirements-uv.lock
	@echo "Making the environment .venv (Airflow, Great Expectations, peel) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Peel needs Python 3.11 or newer; set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

.venv/.run: .venv/bin/uv requirements.lock pyproject.toml
	@[ -e .venv/.dev ] || $(UV) pip sync --quiet --require-hashes --allow-empty-requirements requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --offline --editable .
	@touch $@

.venv/.dev: .venv/bin/uv requirements-dev.lock pyproject.toml
	@$(UV) pip sync --quiet --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --offline --editable .
	@touch $@ .venv/.run

dbt_project/.venv/.run: .venv/bin/uv dbt_project/requirements.lock
	@echo "Making the environment dbt_project/.venv (dbt) ..."
	@$(PYTHON) -m venv --without-pip dbt_project/.venv
	@$(UV) pip sync --quiet --require-hashes --python dbt_project/.venv/bin/python dbt_project/requirements.lock
	@touch $@

run: .venv/.run dbt_project/.venv/.run ## start everything, run last night (or DATE=YYYY-MM-DD) and leave it running
	@.venv/bin/peel night $(DATE)

stop: ## stop what run started
	@[ ! -e .venv/.run ] || .venv/bin/peel down

test: .venv/.dev dbt_project/.venv/.run ## run every test, on two cores
	@.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-fast: .venv/.dev dbt_project/.venv/.run ## run the tests that take no more than a few seconds each
	@.venv/bin/python -m pytest -m "not slow and not airflow" $(PYTEST)

lint: .venv/.dev ## check style, types, import rules and SQL
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache >/dev/null || .venv/bin/lint-imports --no-cache
	@.venv/bin/sqlfluff lint --disable-progress-bar dbt_project/models plugins/peel/warehouse.sql
	@.venv/bin/sqlfluff lint --disable-progress-bar --templater placeholder plugins/peel/builds/sql
	@echo "Style, types, import rules and SQL are as they should be."

docs: .venv/.run dbt_project/.venv/.run ## write the data dictionary and the entity diagrams from the models
	@.venv/bin/peel dictionary

bench: .venv/.run dbt_project/.venv/.run ## measure loading against its floor, then nights and readers of the star; writes benchmarks/results/
	@.venv/bin/python -m benchmarks $(ROWS)
	@.venv/bin/python -m benchmarks.star $(SCALE)

picture: .venv/.dev ## take the README's picture of the latest draft (needs Chromium)
	@.venv/bin/peel picture docs/images/page.png

clean: ## stop everything and remove environments and everything Peel wrote, keys included
	@[ ! -e .venv/.run ] || .venv/bin/peel clean $(if $(YES),--yes)
	@rm -rf .venv dbt_project/.venv dbt_project/target dbt_project/logs .pytest_cache .mypy_cache .ruff_cache .hypothesis

lock: .venv/bin/uv ## compile the hashed lock files again
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --group build pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes -c requirements.lock --group build --group dev pyproject.toml -o requirements-dev.lock
	@cd dbt_project && ../$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes pyproject.toml -o requirements.lock
