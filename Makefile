# Every target sets itself up: .venv holds the project with all extras, build/runtime the built
# wheel with [cpu] alone. TORCH_INDEX=<address of PyTorch's CPU index> keeps CUDA out on Linux.
PYTHON ?= python3
TORCH_INDEX ?=
DATA ?= ../shared/data
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SOURCES := $(shell find runtime train export -name '*.py' -o -name '*.j2' -o -name py.typed)

.PHONY: demo test test-arm test-pythons format check soak docs dist clean bench-start bench-digits bench-quality bench-mnist bench-train bench-precision bench-portability bench-runtime bench-anomaly bench-thresholds bench-features bench-samples bench-compress bench-margins bench-noise test-cpus

demo: .venv/.ready build/runtime/.ready  ## train, export, and run without torch, on real data
	$(BIN)/python demo/demo.py

# Files in their order: e2e, of few and long tests, comes first, so that none of them runs last.
test: .venv/.ready build/runtime/.ready  ## all tests but the soak, under 10 minutes on 2 cores
	$(BIN)/python -m pytest -m "not soak and not alone" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m "alone and not soak"

test-arm: .venv/.ready  ## numbers of the runtime on emulated ARM64 processors; needs qemu-user-static, mmdebstrap
	tests/machines/arm.sh build/arm

test-pythons: .venv/.ready build/runtime/.ready  ## the runtime's tests on the newest Python and dependencies, and on the oldest
	tests/machines/pythons.sh build/pythons

test-cpus: .venv/.ready  ## the suites of train and export as other processors compute, and a table
	$(BIN)/python tests/machines/cpus.py

soak: .venv/.ready build/runtime/.ready build/node/.ready  ## the full counts of kills, mutants, traces and combinations
	$(BIN)/python -m pytest -m soak -rP
	$(BIN)/python -m pytest tests/e2e/test_docs.py -k node

format: .venv/.ready  ## bring the code into the form that check wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: .venv/.ready  ## format, lint, types, and docs that follow the code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

docs: .venv/.ready  ## write the command help in docs/commands.md again
	$(BIN)/python docs/generate.py

dist:  ## wheel and sdist in build/release, each tried by the demo in fresh environments
	PYTHON="$(PYTHON)" INDEX="$(INDEX)" tests/machines/dist.sh build/release

bench-start: .venv/.ready build/runtime/.ready  ## load + first row in a fresh process, against bare sessions
	$(BIN)/python benchmarks/start.py

bench-digits: .venv/.ready  ## test error against PCA's on digits, at 8, 16 and 32 latents
	$(BIN)/python benchmarks/digits.py

bench-quality: .venv/.ready  ## test error against PCA's on the sets of DATA, default settings
	$(BIN)/python benchmarks/quality.py $(DATA)

bench-noise: .venv/.ready  ## how often PCA is kept on noise, where nothing is better
	$(BIN)/python benchmarks/noise.py

bench-mnist: .venv/.ready  ## codes of every bottleneck on DATA's MNIST
	$(BIN)/python benchmarks/mnist.py $(DATA)

bench-train: .venv/.ready build/peers/.ready  ## seconds of training beside other tools, on DATA's MNIST
	$(BIN)/python benchmarks/training.py $(DATA)

bench-precision: .venv/.ready  ## error, speed and size of int8 beside fp32, on sets of DATA
	$(BIN)/python benchmarks/precision.py $(DATA)

bench-portability: .venv/.ready build/runtime/.ready build/oldest/.ready build/node/.ready  ## one bundle, many onnxruntimes: old and new, Node, wasm
	$(BIN)/python benchmarks/portability.py

bench-runtime: .venv/.ready build/runtime-peers/.ready  ## speed and memory of the runtime, against a loop by hand and other tools
	$(BIN)/python benchmarks/runtime.py

bench-anomaly: .venv/.ready build/peers/.ready  ## what scores find on labelled tables and series of DATA, beside PCA and PyOD
	$(BIN)/python benchmarks/anomaly/tables.py $(DATA)
	$(BIN)/python benchmarks/anomaly/series.py $(DATA)
	$(BIN)/python benchmarks/anomaly/stream.py

bench-thresholds: .venv/.ready  ## whether as many ordinary rows are flagged as bundles say
	$(BIN)/python benchmarks/anomaly/thresholds.py $(DATA)

bench-features: .venv/.ready  ## accuracy of classifiers on latents, beside rows and PCA, on sets of DATA
	$(BIN)/python benchmarks/features.py $(DATA)

bench-samples: .venv/.ready  ## how far new digits and new rows of DATA's tables are from real ones, beside PCA
	$(BIN)/python benchmarks/samples/images.py $(DATA) $(if $(EPOCHS),--epochs $(EPOCHS))
	$(BIN)/python benchmarks/samples/tables.py $(DATA)

bench-compress: .venv/.ready build/compress-peers/.ready  ## bytes of archives and of SZ3, zfp, pcodec, zlib and PCA, on sets of DATA
	$(BIN)/python benchmarks/compress/tables.py $(DATA)
	$(BIN)/python benchmarks/compress/speed.py $(DATA)

bench-margins: .venv/.ready  ## differences of decoders in other arithmetics, against the decoder error
	$(BIN)/python benchmarks/compress/margins.py

models/digits: .venv/.ready  ## the ready bundle, from its recipe
	mkdir -p build/models
	$(BIN)/ae-train digits --recipe models/digits/recipe.toml --out build/models/digits --overwrite
	$(BIN)/ae-export build/models/digits --out models/digits --overwrite

clean:
	rm -rf .venv build

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; say PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) $(INDEX) -e '.[dev]'
	@touch $@

build/peers/.ready: benchmarks/peers.txt constraints.txt
	rm -rf build/peers
	$(PYTHON) -m venv build/peers
	build/peers/bin/python $(INSTALL) $(INDEX) -r benchmarks/peers.txt
	@touch $@

build/runtime-peers/.ready: benchmarks/runtime-peers.txt constraints.txt
	rm -rf build/runtime-peers
	$(PYTHON) -m venv build/runtime-peers
	build/runtime-peers/bin/python $(INSTALL) $(INDEX) -r benchmarks/runtime-peers.txt
	@touch $@

build/compress-peers/.ready: benchmarks/compress/peers.txt constraints.txt
	rm -rf build/compress-peers
	$(PYTHON) -m venv build/compress-peers
	build/compress-peers/bin/python $(INSTALL) -r benchmarks/compress/peers.txt
	@touch $@

build/runtime/.ready: pyproject.toml constraints.txt README.md $(SOURCES)
	rm -rf build/runtime build/dist
	$(PYTHON) -m venv build/runtime
	build/runtime/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/dist .
	build/runtime/bin/python $(INSTALL) "$$(echo build/dist/*.whl)[cpu]"
	@touch $@

build/oldest/.ready: benchmarks/portability/oldest.txt build/runtime/.ready
	rm -rf build/oldest
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/portability/oldest.txt build/dist/*.whl
	@touch $@

build/node/.ready: benchmarks/portability/package.json benchmarks/portability/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed, with Node 20 or newer"; exit 1; }
	rm -rf build/node
	mkdir -p build/node
	cp benchmarks/portability/package.json benchmarks/portability/package-lock.json build/node
	npm ci --prefix build/node --ignore-scripts --no-audit --no-fund --silent
	@touch $@
