# make demo   set-up + the whole pipeline on the embedded chorales, CPU only
# make test   set-up + the fast test suite
# The first of these that is Python 3.11 or newer makes the virtual environment; name another one: make demo PYTHON=...
PYTHON ?= python3 python3.12 python3.11 python
VENV ?= .venv
# Processes of a suite.
WORKERS ?= 2
BIN := $(VENV)/bin

export JAX_PLATFORMS ?= cpu
# Tests compile many small programs: keep them between runs, and for a fresh clone too.
TEST_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/musicgen_jax/tests
TEST_ENV := JAX_COMPILATION_CACHE_DIR=$(TEST_CACHE) JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.05
# A process that crashed is not replaced: what it was doing is told at once.
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart=0
# What depends on the releases of JAX, Flax, Orbax and Grain: arrays, modules, meshes, checkpoints, loaders.
STACK := $(addprefix tests/,test_cli.py test_generation.py training sharding transformer priors sampling diffusion \
	data/test_loader.py codes/test_code_dataset.py quantizers/test_quantizer.py tokenizers/test_loss.py \
	tokenizers/test_chunked.py tokenizers/test_extraction.py)

.PHONY: demo test test-stack test-long test-slow test-beam test-parity transcriber embeddings lint format clean

demo: $(VENV)/.demo
	PYTHON=$(BIN)/python launch/demo.sh demo

FAST_SUITE := not long and not slow and not parity
LONG_SUITE := long and not slow and not parity

test: $(VENV)/.test
	$(PYTEST) --dist worksteal -m "$(FAST_SUITE)"

test-stack: $(VENV)/.test
	$(PYTEST) --dist worksteal -m "$(FAST_SUITE)" $(STACK)
	$(PYTEST) --dist worksteal -m "$(LONG_SUITE)" tests/sharding tests/training

# Whole commands and models: seconds of tracing and compilation each.
test-long: $(VENV)/.test
	$(PYTEST) --dist loadfile -m "$(LONG_SUITE)"

# As production compiles; a file's tests stay together, for what they share takes long.
test-slow: $(VENV)/.test
	XLA_FLAGS= $(PYTEST) --dist loadfile -m "slow and not parity"

# Apache Beam wants an older protobuf than what is tested above: name a virtual environment of its own.
test-beam: $(VENV)/.beam
	$(TEST_ENV) $(BIN)/python -m pytest tests/data/test_beam_runner.py

test-parity: $(VENV)/.test $(VENV)/.parity
	$(PYTEST) --dist loadfile -m parity

# The network of `prepare_data --transcribe=transcriber/nmp.onnx`, out of basic-pitch's wheel: the package itself, with
# all that it needs, is not installed.
BASIC_PITCH := basic-pitch==0.4.0
transcriber: transcriber/nmp.onnx $(VENV)/.transcribe

transcriber/nmp.onnx: | $(VENV)/.transcribe
	rm -rf transcriber && mkdir transcriber
	$(BIN)/python -m pip download -q --no-deps --only-binary=:all: --python-version=3.11 -d transcriber $(BASIC_PITCH)
	cd transcriber && $(abspath $(BIN))/python -m zipfile -e *.whl . && mv basic_pitch/saved_models/icassp_2022/nmp.onnx .
	cd transcriber && rm -rf *.whl basic_pitch *.dist-info

$(VENV)/.transcribe: setup.py
	$(call install,transcribe)

# The networks of `evaluate --embeddings=musicnn:embeddings/MTT_musicnn`, out of musicnn's wheel: the package itself wants
# an old TensorFlow, and is not installed.
MUSICNN := musicnn==0.1.0
embeddings: embeddings/MTT_musicnn/.index

embeddings/MTT_musicnn/.index: | $(VENV)/.demo
	rm -rf embeddings && mkdir embeddings
	$(BIN)/python -m pip download -q --no-deps --only-binary=:all: --python-version=3.11 -d embeddings $(MUSICNN)
	cd embeddings && $(abspath $(BIN))/python -m zipfile -e *.whl unpacked && mv unpacked/*.dist-info/LICENSE.md .
	cd embeddings && for model in MSD_musicnn MTT_vgg MSD_vgg MTT_musicnn; do mv unpacked/musicnn/$$model .; done
	cd embeddings && rm -rf *.whl unpacked */.meta

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo .cache $(TEST_CACHE) $(VENV)

$(VENV)/.demo: setup.py
	$(call install,demo)

$(VENV)/.test: setup.py
	$(call install,test)

$(VENV)/.parity: setup.py
	$(call install,parity)

$(VENV)/.beam: setup.py
	$(call install,beam)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pytest>=8"

# A stamp file for each extra: an interrupted installation starts again, a finished one is not repeated.
define install
@$(make_venv)
@echo "installing into $(VENV): a few minutes the first time" >&2
@PIP_USE_PEP517=1 $(BIN)/python -m pip install --quiet --progress-bar on --disable-pip-version-check -e ".[$(1)]"
@# They compile themselves the first time: not in each of several processes.
@$(BIN)/python -c 'import librosa.core.audio, librosa.core.pitch, librosa.util.utils'
@touch $@
endef

# An environment without pip is one that could not be finished (Debian's Python lacks ensurepip): tried again.
define make_venv
is_new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
if $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	is_new_enough $(BIN)/python || { \
		echo "error: $(VENV) was made by a Python older than 3.11: remove it (make clean) and run make again" >&2; exit 1; }; \
else \
	for python in $(PYTHON) none; do is_new_enough "$$python" && break; done; \
	[ "$$python" != none ] || { \
		echo "error: Python 3.11 or newer is needed, and none was found among: $(PYTHON)." \
			"Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	"$$python" -m venv $(VENV) || { \
		echo "error: $$python could not make the virtual environment $(VENV): see above" >&2; exit 1; }; \
fi
endef
