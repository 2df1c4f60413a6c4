# Two commands on a bare machine: `make quickstart` and `make test`. Both make `.venv` first, with the first of
# python3.11-3.13 that runs (a name on the PATH may be a shim that does not), or with PYTHON=/path/to/python.

find_python = for p in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done

.PHONY: help quickstart test test-all lint clean

help:
	@echo "make quickstart   install into .venv, fit a potential to the shipped data and run molecular dynamics with it"
	@echo "make test         install into .venv and run the tests"
	@echo "make test-all     the long tests as well"
	@echo "make lint         ruff, the import rules, pyright"
	@echo "make clean        remove .venv and what the others wrote"

.venv/bin/python:
	@python=`$(find_python)`; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 (with venv and ensurepip) found. Install one, or say make PYTHON=/path/to/python3.11." >&2; \
		exit 1; \
	fi; \
	echo "Making .venv with `$$python --version`"; "$$python" -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e .
	@touch $@

.venv/installed-test: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e '.[test]'
	@touch $@ .venv/installed

.venv/installed-lint: .venv/installed
	.venv/bin/python -m pip install -q -e '.[lint]'
	@touch $@

quickstart: .venv/installed
	.venv/bin/jorbit quickstart

test: .venv/installed-test
	.venv/bin/python -m pytest -n 2 --dist loadgroup

test-all: .venv/installed-test
	.venv/bin/python -m pytest -n 2 --dist loadgroup --slow

lint: .venv/installed-lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/pyright --pythonpath .venv/bin/python

clean:
	rm -rf .venv build dist jorbit-quickstart .pytest_cache .ruff_cache .hypothesis .import_linter_cache
