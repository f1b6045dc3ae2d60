# make warm TARGET=…   sets everything up in .venv, then warms      make test    sets up what the tests need, runs them all
# make check           lint, types, layers                          make bench   against peers
# make bundle          dist/cachewarmer: one file with every command, and wheel and sdist

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
TARGET ?=
JOBS ?= 2

.PHONY: warm test check bench bundle clean

warm: $(VENV)/.run
ifeq ($(strip $(TARGET)),)
	@bash scripts/packages.sh nfs || true
	@$(PYTHON) -m scripts.demo
else
	@$(VENV)/bin/cachewarmer warm '$(subst ','\'',$(TARGET))' $(OPTIONS)
endif

# What is missing is said; its tests are skipped with their reason, but in CI they fail.
test: $(VENV)/.dev
	@bash scripts/packages.sh nfs node postgres fuse kernel deploy bundle cloud || [ "$$CACHEWARMER_REQUIRE_REAL" != 1 ]
	$(PYTHON) -m pytest --numprocesses $(JOBS) --dist loadfile $(PYTEST)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.dev
	@bash scripts/packages.sh nfs node
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[bench]'
	$(PYTHON) -m benchmarks.reader
	$(PYTHON) -m benchmarks.scale
	$(PYTHON) -m benchmarks.broker
	$(PYTHON) -m benchmarks.traffic
	$(PYTHON) -m benchmarks.killing 10

bundle:
	@bash scripts/packages.sh bundle
	@sh deploy/bundle/build

$(VENV)/.run: pyproject.toml constraints.txt scripts/venv.sh
	@bash scripts/venv.sh $(VENV) fast
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/venv.sh
	@bash scripts/venv.sh $(VENV) azure,postgres,fast,dev
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
