# make demo   set-up + the whole pipeline on the embedded chorales, CPU only
# make test   set-up + the fast test suite
PYTHON ?= python3
VENV ?= .venv
# Processes of the fast and of the slow suite.
WORKERS ?= 2
BIN := $(VENV)/bin

export JAX_PLATFORMS ?= cpu
# Tests compile many small programs: keep them between runs.
TEST_ENV := JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.cache/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2

.PHONY: demo test test-slow test-parity lint format clean

demo: $(VENV)/.demo
	PYTHON=$(BIN)/python launch/demo.sh demo

test: $(VENV)/.test
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not parity"

test-slow: $(VENV)/.test
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow and not parity"

test-parity: $(VENV)/.test $(VENV)/.parity
	$(TEST_ENV) $(BIN)/python -m pytest -m parity

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo .cache $(VENV)

$(VENV)/.demo: setup.py
	$(call install,demo)

$(VENV)/.test: setup.py
	$(call install,test)

$(VENV)/.parity: setup.py
	$(call install,parity)

# A stamp file for each extra: an interrupted installation starts again, a finished one is not repeated.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "error: $(PYTHON) is older than Python 3.11; run make with PYTHON=python3.11 or newer" >&2; exit 1; }
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --quiet --progress-bar on -e ".[$(1)]"
@touch $@
endef
