# make demo    train two small adapters and do everything with them: one thread, half a minute once installed
# make test    everything that is checked: what make check does, beside the tests
# make test-all  every combination of what takes turns in make test, and more examples of the laws: 300 for 30
# make test-gpu  what needs a GPU, where torch finds one
# make fuzz    a minute of damaged files and odd arguments, and commands that are killed twenty times at random
# make check   style, types, doctests
# make docs    the site of docs/, in site/: open site/index.html
# make pages   docs/commands.md, and the outputs and figures that README and docs/ show, as they are now
# make picture docs/report.png, the picture in README, with Chromium
# make bench   speed and memory, ours and the peers'; PARTS="models memory" for some of it
# make bench-report  docs/performance.md and its figures, from the stored results
# make bench-gpu     what needs a GPU, where torch finds one
# make bench-architectures  what is right for which models of transformers: docs/architectures.md

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
INSTALL := $(BIN)/pip install -q --no-compile -c constraints.txt -e .
# Some containers set it, and each of hundreds of processes compiles what it imports, then.
export PYTHONDONTWRITEBYTECODE =
# Tests write a hundred thousand small files: in memory, where 4 GB of it are free for files that may be programs;
# what tests that failed left there stays until they are run again.
IN_MEMORY := $(shell grep -qs ' /dev/shm .*noexec' /proc/mounts || \
  df -Pk /dev/shm 2>/dev/null | awk -v own="$$(pwd | cksum | cut -d' ' -f1)" 'NR == 2 && $$4 > 4000000 { print "/dev/shm/tests-" own }')
# One more than two processors have work for: some tests wait for processes, servers or a cluster.
WORKERS ?= 3
.PHONY: demo test tests test-all test-gpu fuzz check docs pages picture bench bench-report bench-gpu bench-architectures clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(MAKE) --jobs=2 check tests

# bitsandbytes has the compiler of torch imported, more than a second in each process, for kernels that a CPU does not take.
tests: export TORCHDYNAMO_DISABLE = 1
tests: $(VENV)/.dev
	$(BIN)/python tests/forked.py $(WORKERS) -q $(addprefix --basetemp=,$(IN_MEMORY)) tests
	rm -rf $(IN_MEMORY)

test-all: export TESTS = all
test-all: tests

test-gpu: $(VENV)/.dev
	$(BIN)/pytest -q -m gpu tests/gpu

fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/run.py --seconds 60
	KILLS=20 $(BIN)/pytest -q tests/fault/test_resuming.py tests/interop/test_through_the_wire.py -k killed_at_any_time

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q --doctest-modules adapterops

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W -d $(VENV)/doctrees docs site
	@echo "open site/index.html"

pages: $(VENV)/.dev
	$(BIN)/python docs/pages.py

picture: $(VENV)/.dev
	$(BIN)/python docs/picture.py

bench: $(VENV)/.dev
	$(INSTALL) --group bench
	$(BIN)/python benchmarks/run.py $(PARTS)

bench-report: $(VENV)/.dev
	$(BIN)/python docs/performance.py

bench-gpu: $(VENV)/.dev
	$(INSTALL) --group bench
	$(BIN)/python benchmarks/run.py gpu

bench-architectures: $(VENV)/.dev
	$(BIN)/python benchmarks/architectures.py

# pip 25.1 is the first that knows dependency groups
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("$(PYTHON) is older than Python 3.11: name another, such as make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -q 'pip>=25.1'
	touch $@

# Python compiles what is imported when that is done first, and most of what is installed never is.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.docs: $(VENV)/.%: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "make $*: installing torch and more into $(VENV), over 1 GB, silently; two minutes, or longer with a slow network"
	$(INSTALL) --group $*
	touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
