# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11 or newer, make, and
# nothing else: everything is installed into .venv. Where there is a Rust toolchain the native core is built, too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# An installation is made again when what it was made from changes, and when a Rust toolchain comes or goes:
# the build backend says whether it will build the native core. SYNCPOINT_BUILD=pure does without.
ASK := $(firstword $(wildcard $(BIN)/python) $(PYTHON)) build_backend/syncpoint_build.py
CORE := $(or $(shell SYNCPOINT_BUILD='$(SYNCPOINT_BUILD)' $(ASK)),$(if $(SYNCPOINT_BUILD),$(error \
	SYNCPOINT_BUILD=$(SYNCPOINT_BUILD) is not to be had: see above)),pure)
SOURCES := pyproject.toml Cargo.toml Cargo.lock $(shell find build_backend rust -name '*.py' -o -name '*.rs' -o -name 'Cargo.toml')

.PHONY: demo test coverage bench bench-rust check wheels clean

demo: $(VENV)/.cli-$(CORE)
	$(BIN)/syncpoint demo $(ARGS)

test: $(VENV)/.test-$(CORE) rust-test-$(CORE)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

.PHONY: rust-test-native rust-test-pure
rust-test-native: | $(VENV)/bin/python
	PYO3_PYTHON=$(abspath $(BIN))/python cargo test --quiet --workspace --locked
rust-test-pure:
	@echo 'No Rust toolchain is used: the Rust tests are left out, and the Python core runs alone.'

# 2,000 scenarios and ten million deliveries of the simulator, every promise checked; docs/ledger.md has the long ones.
.PHONY: campaign
campaign: $(VENV)/.test-$(CORE)
	$(BIN)/python -m tests.sim.campaign gate $(ARGS)

# How much of the Python core its tests reach; several times slower than the tests alone.
coverage: $(VENV)/.test-$(CORE)
	$(BIN)/python -m coverage erase
	SYNCPOINT_CORE=python $(BIN)/python -m coverage run -m pytest tests/core $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --include='*/syncpoint/core/*' --show-missing

# Both cores: stage by stage, then peers on loopback. About five minutes on an idle machine; ARGS=--quick for a look.
bench: $(VENV)/.bench-$(CORE)
	$(BIN)/python -m pytest --quiet benches/core.py $(ARGS)
	$(BIN)/python benches/cluster.py $(ARGS)

# The native core alone, without a way from Python and back.
bench-rust:
	cargo bench --quiet --locked --package syncpoint-core --bench core

# Format, lint, types, and whether every test can be imported; what .ci/run does first.
check: $(VENV)/.dev-$(CORE)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --collect-only -qq --assert=plain
ifeq ($(CORE),native)
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(BIN))/python cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
endif

# What a release has for this platform, checked, installed and tested: docs/releasing.md.
ZIG := $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux_2_17)
wheels: | $(VENV)/bin/python
	$(PIP) --requirement build_backend/requirements.txt
	rm -rf dist
	PATH="$(abspath $(BIN)):$$PATH" MATURIN_NO_MISSING_BUILD_BACKEND_WARNING=1 $(BIN)/maturin build --release --locked --features abi3 $(ZIG) \
		--interpreter $(abspath $(BIN))/python --out dist
	SYNCPOINT_BUILD=pure $(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python build_backend/check_wheels.py contents dist
	$(BIN)/python build_backend/check_wheels.py install dist

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "syncpoint needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# The tree has room for one core: each installation undoes what the other kind has left there.
$(VENV)/.%-native: $(SOURCES) | $(VENV)/bin/python
	rm -f $(VENV)/.*-pure
	$(PIP) --editable '.[$*]' 'maturin>=1.14,<2'
	touch $@

$(VENV)/.%-pure: $(SOURCES) | $(VENV)/bin/python
	rm -f $(VENV)/.*-native
	$(PIP) --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .venv-* build dist target .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/syncpoint/_native.*.so python/syncpoint/_native.*.pyd python/syncpoint/_native.so python/syncpoint/_native.pyd
