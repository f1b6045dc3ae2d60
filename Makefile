# make warm TARGET=…   set up .venv, then warm      make test       set up what the tests need, then run them all
# make check           lint, types, layers          make coverage   measure it; fail below a room's floor
# make bench           compare with peers           make soak       fuzz for SOAK_SECONDS, warm under faults for SOAK_HOURS
# make bundle          dist/cachewarmer: one file with every command, and wheel and sdist
# make image           dist/cachewarmer-VERSION.oci.tar: the same as a container image, made without a container engine
# make deb             dist/cachewarmer_VERSION_amd64.deb: the same as a package, with services and a manual page

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
TARGET ?=
JOBS ?= 3
export SOAK_SECONDS ?= 600
export SOAK_HOURS ?= 1
# Every command that a test or a benchmark starts would compile the whole program again.
unexport PYTHONDONTWRITEBYTECODE

# Whether benchmarks, which no test runs, still call what is there.
LOOSELY := --explicit-package-bases --follow-imports=silent --allow-untyped-defs --allow-untyped-calls \
  --allow-incomplete-defs --allow-any-generics --no-warn-return-any --no-warn-unused-ignores

# What is measured for coverage: bounded, without a kernel, a fleet or a deployment.
COVERED := tests/unit tests/conformance tests/integration/test_onemachine.py tests/integration/test_manager_worker.py \
  tests/integration/test_manager_worker_faults.py tests/integration/test_scripted_faults.py \
  tests/integration/test_scripted_server.py tests/integration/test_scripted_mount.py tests/integration/test_ganesha.py \
  tests/integration/test_ledger.py tests/integration/test_lists.py tests/integration/test_each_address.py \
  tests/integration/test_limit.py tests/integration/test_access_as.py

.PHONY: warm setup test check coverage soak bench settings bundle deb image clean

# make itself exits with 2 whenever the program fails, and prints its exit code; scripts/warm passes the code on.
warm: setup
ifeq ($(strip $(TARGET)),)
	@bash scripts/packages.sh nfs || true
	@$(PYTHON) -m scripts.demo
else
	@$(VENV)/bin/cachewarmer warm '$(subst ','\'',$(TARGET))' $(OPTIONS)
endif

setup: $(VENV)/.run

# What is missing is named; its tests are skipped with their reason, but in CI they fail.
test: $(VENV)/.dev
	@bash scripts/packages.sh nfs node postgres fuse kernel deploy bundle cloud slurm deb image spin browser monitoring shells kerberos || [ "$$CACHEWARMER_REQUIRE_REAL" != 1 ]
	$(PYTHON) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	MYPYPATH=src:. $(VENV)/bin/mypy -p benchmarks $(LOOSELY)
	$(VENV)/bin/lint-imports
	$(PYTHON) -m scripts.complexity src scripts

coverage: $(VENV)/.dev
	@bash scripts/packages.sh nfs node || true
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile --quiet $(COVERED)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage json --quiet -o .coverage.json
	$(PYTHON) -m scripts.coverage_floors .coverage.json

# Other options for pytest, such as -k messages, go into PYTEST.
soak: $(VENV)/.dev
	@bash scripts/packages.sh nfs spin || true
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[soak]'
	$(PYTHON) -m pytest -o addopts='--import-mode=importlib -ra --strict-markers' -s -m soak tests/soak $(PYTEST)

bench: $(VENV)/.dev
	@bash scripts/packages.sh nfs node postgres fuse peers
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[bench]'
	$(PYTHON) -m benchmarks.peers
	$(PYTHON) -m benchmarks.reader
	$(PYTHON) -m benchmarks.juicefs
	$(PYTHON) -m benchmarks.scale
	$(PYTHON) -m benchmarks.broker
	$(PYTHON) -m benchmarks.brokers
	$(PYTHON) -m benchmarks.postgres
	$(PYTHON) -m benchmarks.traffic
	$(PYTHON) -m benchmarks.knee
	$(PYTHON) -m benchmarks.knee_model
	$(PYTHON) -m benchmarks.verified
	$(PYTHON) -m benchmarks.killing
	$(PYTHON) -m benchmarks.killing --broker postgres
	$(PYTHON) -m benchmarks.killing --broker postgres --restarts 5 --times 5

settings: $(VENV)/.dev
	$(PYTHON) scripts/settings_reference.py

# A package for Debian and Ubuntu, from the bundle.
deb:
	@bash scripts/packages.sh deb
	@[ -x dist/cachewarmer ] || $(MAKE) --no-print-directory bundle
	@sh deploy/deb/build

# A container image, from the bundle.
image:
	@bash scripts/packages.sh image
	@[ -x dist/cachewarmer ] || $(MAKE) --no-print-directory bundle
	@sh deploy/image/build

bundle:
	@bash scripts/packages.sh bundle
	@sh deploy/bundle/build

$(VENV)/.run: pyproject.toml constraints.txt scripts/venv.sh
	@bash scripts/venv.sh $(VENV) fast
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/venv.sh
	@bash scripts/venv.sh $(VENV) azure,postgres,fast,web,usd,parquet,dev
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .cache .coverage* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
