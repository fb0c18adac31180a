# Every target does all it needs on a bare machine with Python 3.11+ and Java 17+.
#   make quickstart   the whole chain, small          make test    what CI runs
#   make lint         ruff and mypy                   make soak    long fault and property runs
#   make bench        speed, as ratios                make docs    the site of docs/, in site/
#   make bench-idle   waits on the clock, when nothing else runs
#   make real-model   a checkpoint that can read, the whole way (make real-model-table: three seeds)
#   make install      the environment alone

PYTHON ?= python3
VENV := .venv
comma := ,
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DMIX_TEST_DATA ?= $(wildcard $(abspath ../shared/data))
# processes share few cores: more threads than cores slow every one of them down
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# processes that tests start would compile every module again
unexport PYTHONDONTWRITEBYTECODE

# uv where it is there, else pip; both say which package they fetch. Modules are compiled when they are first
# imported: compiling all of 7 GB takes a third of pip's time.
define INSTALL
if command -v uv >/dev/null; then \
  uv pip install --python $(BIN)/python -c constraints.txt -e '.[$(1)]'; \
else \
  $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-compile -c constraints.txt -e '.[$(1)]' | \
    sed -n 's/^ *\(Collecting\|Downloading\|Installing\) /\1 /p'; \
  $(BIN)/python -c 'import dmix, torch'; \
fi
endef

.PHONY: install test quickstart lint docs soak bench bench-mixing bench-farm bench-etl bench-idle real-model real-model-table constraints clean java

install: $(STAMP)

java:
	@java=$${JAVA_HOME:+$$JAVA_HOME/bin/}java; \
	version=$$("$$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1); \
	if [ "$${version:-0}" -lt 17 ]; then \
	  echo "dmix needs Java 17 or newer for Spark (found: $${version:-none}); install it, on Debian or Ubuntu with 'sudo apt-get install openjdk-17-jre-headless', elsewhere from https://adoptium.net, or set JAVA_HOME." >&2; \
	  exit 1; fi

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt etl/classifiers/loops.c | java
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "dmix needs Python 3.11 to 3.13, the versions that its pinned torch has wheels for (found: $$($(PYTHON) --version 2>&1)); name one with 'make PYTHON=python3.12 …'" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing dmix and its dependencies into $(VENV): about 7 GB, some minutes; with uv if it is there"
	@$(call INSTALL,dev)
	@touch $@

# three processes keep two cores busy while one of them waits for a process of its own
test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

quickstart: $(STAMP)
	$(BIN)/dmix quickstart --out demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	@$(call INSTALL,dev$(comma)docs)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

soak: $(STAMP)
	$(BIN)/python -m tests.soak

bench: bench-mixing bench-farm bench-etl

bench-mixing: $(STAMP)
	$(BIN)/python -m benchmarks.mixing

bench-farm: $(STAMP)
	$(BIN)/python benchmarks/algorithm_1.py
	$(BIN)/python -m benchmarks.farm

bench-etl: $(STAMP)
	@$(call INSTALL,dev$(comma)bench)
	$(BIN)/python -m benchmarks.etl

# what waits on the clock show: on an idle machine only, some 25 minutes on two cores
bench-idle: $(STAMP)
	@$(call INSTALL,dev$(comma)bench)
	$(BIN)/python -m benchmarks.commands
	$(BIN)/python -m benchmarks.farm --results benchmarks/results
	$(BIN)/python -m benchmarks.etl --only 'shell/*'
	$(BIN)/python -m benchmarks.etl --only 'whole*'
	$(BIN)/python -m benchmarks.etl --only stages

real-model: $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt -e '.[dev,lora,gguf]'
	$(BIN)/python -m benchmarks.real_model

real-model-table: $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt -e '.[dev,lora,gguf]'
	$(BIN)/python -m benchmarks.real_model --size table --dry-run
	$(BIN)/python -m benchmarks.real_model --size table

constraints: $(STAMP)
	{ head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable; } > constraints.tmp && mv constraints.tmp constraints.txt

clean:
	rm -rf $(VENV) demo build *.egg-info src/*.egg-info
