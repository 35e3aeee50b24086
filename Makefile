# `make demo` and `make test` need nothing but Python 3.11 or later, make and a package index.
# Packages come from pyproject.toml; SoftHSM comes from Debian's softhsm2.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CWT_STAMP := .venv-cwt/.installed

.PHONY: demo test test-long lint bench venv venv-cwt softhsm compiler browser modules clean

demo: $(STAMP) softhsm
	rm -rf demo
	$(BIN)/python -m vaxpass_sign demo demo

test: $(STAMP) $(CWT_STAMP) softhsm compiler browser modules
	$(BIN)/python -m pytest -m "not long"

test-long: $(STAMP) $(CWT_STAMP) softhsm compiler browser modules
	$(BIN)/python -m pytest -m long --timeout 7200
	HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest tests/hcert tests/record tests/check tests/prepare --timeout 7200

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(STAMP) $(CWT_STAMP) softhsm compiler
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/sign.py
	$(BIN)/python benchmarks/deflate.py
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/verify_table.py
	$(BIN)/python benchmarks/revocation.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/scale.py --sizes 30000 300000
	$(BIN)/python benchmarks/tune.py
	$(BIN)/python benchmarks/tune.py --slow 5 --at-once 8 --only 1x8
	$(BIN)/python benchmarks/tune.py --slow 100 --at-once 1 --only 1x1

venv: $(STAMP)
venv-cwt: $(CWT_STAMP)

# Runs again whenever pyproject.toml changes.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: found $$($(PYTHON) --version), expected Python 3.11 or later: make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable '.[all]' --group dev
	@touch $@

# python-cwt needs an older cbor2 than we do, so it has an environment of its own; tests and
# benchmarks speak to it over a pipe.
$(CWT_STAMP):
	$(PYTHON) -m venv .venv-cwt
	.venv-cwt/bin/pip install --quiet 'cwt>=3.3,<4' 'base45>=0.4.4'
	@touch $@

softhsm:
	@sh .ci/install-missing softhsm

# The tests compile a PKCS#11 module that models a slow or failing token.
compiler:
	@sh .ci/install-missing cc

# A test opens the report's page in a real browser.
browser:
	@sh .ci/install-missing chromium

# The tests sign with five more PKCS#11 modules. Who may not install them goes on without: those
# tests are skipped by name then, and fail where CI is set.
modules:
	@sh .ci/install-missing nss p11kit piv tpm2 opencryptoki || [ -z "$$CI" ]

clean:
	rm -rf demo .venv .venv-cwt
