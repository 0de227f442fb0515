# Two commands: `make run` (quickstart) and `make test`. Each installs what is missing, then does its job.
#   PYTHON       the Python 3.11 to build .venv from
#   TORCH_INDEX  extra package index for the CPU build of torch (see README); empty = your pip's own settings
#   BASE         base of the container image (default: the pinned one of deploy/base_image.txt)
#   NETS         run folders for bench-firmware (default: the quantized CIFAR-10 nets of the zoo)
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
NETS ?= $(patsubst %/,%,$(dir $(wildcard zoo/cifar10-*/integer_model.safetensors)))
BIN := .venv/bin
STAMP := .venv/.complete
RUN_OUT ?= runs/quickstart

.PHONY: help run test test-boards bench-kernels bench-accuracy bench-formats aarch64 lint format setup packages picture docker clean bench-kernel-shapes bench-firmware test-packages docs transcript bench-fit bench-training bench-tvm prove-packed prove-zoo

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: setup  ## Set up, then run the quickstart: data to proven firmware with a report in runs/quickstart
	$(BIN)/repedge run recipes/quickstart.yaml --out $(RUN_OUT) --resume

test: test-packages setup  ## Set up, then run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests

test-boards: setup  ## Every board's firmware: linked in its real memory, run on the emulator of its core
	REPEDGE_ALL_BOARDS=1 $(BIN)/python -m pytest tests/deploy/test_boards.py

bench-kernels: setup  ## Count every kernel's instructions under emulation: benchmarks/results/kernels.json, benchmarks/KERNELS.md
	$(BIN)/python -m benchmarks.kernels

bench-tvm: setup  ## Instructions of the zoo's nets in TVM and TFLite on emulated ARM Linux cores: benchmarks/results/tvm.json, benchmarks/TVM.md
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tvm

prove-packed: setup  ## 500 images of the zoo's smallest 4-bit net through TVM's own aarch64 runtime: benchmarks/results/tvm_packed.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tvm_packed zoo/cifar10-xs-w4a8

prove-zoo: setup aarch64  ## Logits of every quantized zoo net in every back end (resumable): benchmarks/results/exactness.json, benchmarks/EXACTNESS.md
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.exactness

bench-kernel-shapes: setup  ## Every kernel on 12,000 random layers on the host and 1,000 per emulated core, against the reference
	$(BIN)/python -m benchmarks.kernel_shapes

bench-firmware: setup  ## Whole nets on emulated cores, 10,000 images on the M4 (resumable): NETS="FOLDER …" -> benchmarks/FIRMWARE.md
	$(BIN)/python -m benchmarks.firmware $(NETS)

bench-accuracy: setup  ## Train the accuracy grid (hours; resumable): benchmarks/results/accuracy.jsonl, benchmarks/ACCURACY.md
	$(BIN)/python -m benchmarks.accuracy

bench-fit: setup  ## Methods of `repedge fit` at equal bytes (two hours; resumable): benchmarks/results/fit.jsonl, benchmarks/FIT.md
	$(BIN)/python -m benchmarks.fit --jobs 2 --float-nets runs/accuracy

bench-training: setup  ## Cost of a training step relative to plain BN and LSQ: benchmarks/results/training.json
	$(BIN)/python -m benchmarks.training

bench-formats: setup  ## Weigh the weights inside each artefact of the zoo's nets (or of RUNS="runs/a zoo/b"): benchmarks/results/formats.json, benchmarks/FORMATS.md
	$(BIN)/python -m benchmarks.formats $(RUNS)

aarch64: setup  ## Optional: an arm64 Python with tflite-runtime for qemu-user, in build/aarch64-python (needs a network)
	sh deploy/aarch64/set_up.sh build/aarch64-python $(BIN)/pip requirements.txt

lint: test-packages setup  ## ruff, mypy, clang-format, hadolint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h' | grep -vE '/(example_model|export_templates)/')
	$(BIN)/hadolint Dockerfile

format:  ## Rewrite Python and C sources in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	clang-format -i $$(git ls-files '*.c' '*.h' | grep -vE '/(example_model|export_templates)/')

setup: packages $(STAMP)  ## Debian packages and .venv

packages:
	@sh deploy/install_packages.sh

test-packages:
	@sh deploy/install_packages.sh --tests

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python 3.11; install python3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 3; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-cache-dir --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

docs: setup  ## docs/reference.md from the code's own definitions
	$(BIN)/python -m repedge.reference docs/reference.md

transcript: setup  ## docs/quickstart.svg and .cast: the quickstart, recorded
	$(BIN)/python docs/make_transcript.py

CHROMIUM := chromium --headless --no-sandbox --disable-gpu --disable-background-networking --hide-scrollbars --virtual-time-budget=2000
REPORT := file://$(CURDIR)/$(RUN_OUT)/report.html
# a part of the page as a window of its own shows it: width, height, place in the page, picture
define part_of_report
	@mkdir -p build
	echo '<body style="margin:0;background:#9aa6b6;display:grid;justify-content:center"><iframe src="$(REPORT)$(3)" style="border:0;width:$(1)px;height:$(2)px"></iframe>' > build/part.html
	$(CHROMIUM) --window-size=$(if $(filter 390,$(1)),500,$(1)),$(2) --screenshot=docs/$(4) file://$(CURDIR)/build/part.html
endef
picture: test-packages  ## docs/report*.png: the quickstart's report in light and dark, its charts, and on a phone (390 pixels)
	$(CHROMIUM) --window-size=1100,2350 --screenshot=docs/report.png $(REPORT)
	$(CHROMIUM) --window-size=1100,2350 --blink-settings=preferredColorScheme=0 --screenshot=docs/report-dark.png $(REPORT)
	$(call part_of_report,1100,2350,#memory,report-charts.png)
	$(call part_of_report,390,2400,,report-phone.png)

docker:  ## Build the image `repedge` on the pinned base (TORCH_INDEX and BASE are handed on)
	docker build $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) --build-arg BASE=$(or $(BASE),$(file < deploy/base_image.txt)) -t repedge .

clean:  ## Remove build outputs and runs; keeps .venv
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache
