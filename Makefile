# The same commands for users, developers and CI.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

LOWEST := .venv-lowest
PYTHONS ?= python3.11 python3.12 python3.13 python3.14

# What is compiled is kept: tests start many interpreters. One that hangs fails, and says where.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --quiet \
    --numprocesses 2 --dist load --timeout 600

.PHONY: help demo test test-long test-whole test-lowest test-pythons test-clients test-gpu fuzz kills soak check check-backbones fix \
    bench bench-gpu bench-scale docs outlines published wheel \
    clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## The main job on real weights and images, in build/demo
	@rm -rf build/demo && mkdir -p build
	@$(BIN)/zoo demo build/demo

# What the tests of a file share is made once. A third of the time a test waits for a server or
# another process, so that three keep two cores busy.
test: $(VENV)/.dev  ## The test suite, for every commit (5 to 8 minutes on 2 quiet cores)
	$(PYTEST) --numprocesses 3 --dist loadfile --durations 10

test-long: $(VENV)/.dev  ## What takes longer: a share of very many alike
	$(PYTEST) -m 'long and not whole' --durations 10

test-whole: $(VENV)/.dev  ## All of it, with each of very many alike
	$(PYTEST) -m long --durations 10

$(LOWEST)/.done: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv
	$(LOWEST)/bin/uv pip compile --quiet --no-annotate --resolution lowest-direct --extra dev \
	    --python $(LOWEST)/bin/python --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet \
	    --requirement $(LOWEST)/lowest.txt --editable '.[dev]'
	@touch $@ $(LOWEST)/.dev

test-lowest: $(LOWEST)/.done  ## `make test` with the lowest versions that pyproject.toml allows (3 GB)
	PYTEST_ADDOPTS='-W default' $(MAKE) test VENV=$(LOWEST)  # old versions warn of newer ones

test-pythons:  ## `make test` with each of Python 3.11 to 3.14 that is installed
	@for python in $(PYTHONS); do \
	    if $$python -c '' 2> /dev/null; then \
	        $(MAKE) test PYTHON=$$python VENV=.venv-$$python || exit 1; \
	    else echo "$$python is not installed: not tested"; fi; done

test-clients: $(VENV)/.dev  ## zoo serve with each version of huggingface_hub, or VERSION=, which it installs
	$(BIN)/python -m pytest --quiet -rs -m clients $(if $(VERSION),-k '$(VERSION)') tests/serve

fuzz: $(VENV)/.dev  ## zoo serve, sent all that OpenAPI allows, and more; FUZZ_EXAMPLES=2500 for hours
	$(BIN)/python -m pytest --quiet -rs -s -m fuzz tests/serve

soak: $(VENV)/.dev  ## zoo serve in use for HOURS=2: memory, files, disk and answers, drawn in build/soak
	$(BIN)/python benchmarks/soak.py --hours $(or $(HOURS),2)

kills: $(VENV)/.dev  ## zoo serve, PostgreSQL or its bucket, killed at each write or request (hours)
	KILL_EVERY=1 $(BIN)/python -m pytest --quiet -m long tests/serve/test_killed.py \
	    tests/serve/test_services_killed.py

test-gpu: $(VENV)/.dev  ## What needs an accelerator, where there is one; ZOO_TEST_DEVICE=cpu tries the tests
	$(BIN)/python -m pytest --quiet -m gpu -rs --durations 5 tests/finetune/accelerator

check-backbones: $(VENV)/.dev  ## Hierarchies of all architectures; suite, cuts, heads and exports of all classes (hours)
	$(BIN)/python -m pytest --quiet -m backbones --numprocesses 2 --dist loadfile

check: $(VENV)/.dev  ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: $(VENV)/.dev  ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[dev,bench]'
	@touch $@

bench: $(VENV)/.bench  ## Measurements beside peers, which it installs
	@for name in codec store load pull serve features finetune; do $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-scale: $(VENV)/.bench  ## 10,000 checkpoints, docs/scale.png (about 20 minutes)
	$(BIN)/python benchmarks/scale.py

bench-gpu: $(VENV)/.dev  ## Training on an accelerator beside timm and HF, in build/gpu; QUICK=1: within 9 minutes
	$(BIN)/python benchmarks/gpu.py $(if $(QUICK),--quick)

docs: $(VENV)/.dev  ## Write what is generated (docs/cli.md, docs/limits.md, docs/shots); the site, in build/site
	$(BIN)/python -m zoo_cli.reference > docs/cli.md
	$(BIN)/python -m zoo_cli.limits > docs/limits.md
	$(BIN)/python docs/shots.py build/demo/mine
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build  # not --quiet: that hides what fails it

outlines: $(VENV)/.dev  ## What is known of timm's architectures without it, for the timm that is installed (10 minutes)
	$(BIN)/python -m zoo_timm.outlines

published: $(VENV)/.dev  ## timm's results and operations, from TIMM=CHECKOUT of its repository at COMMIT=HASH (10 minutes)
	@mkdir -p build
	git -C $(TIMM) show $(COMMIT):results/results-imagenet.csv > build/results-imagenet.csv
	$(BIN)/python -m zoo_timm.make_published $(COMMIT) < build/results-imagenet.csv

wheel: $(VENV)/.dev  ## Build the sdist, the wheel from it, and try the wheel in a clean environment
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip --disable-pip-version-check install --quiet --no-deps dist/*.whl
	# Without torch, timm and the hub client, which starting up must not need.
	build/wheel/bin/python -m pip --disable-pip-version-check install --quiet \
	    click sqlalchemy alembic rich blake3 zstandard msgspec
	build/wheel/bin/zoo --help > /dev/null
	build/wheel/bin/zoo init build/wheel/zoo

clean:  ## Remove what was built
	rm -rf build dist
