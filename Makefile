# Every target does its own set-up. `make` alone lists them.
#   PYTHON=python3.12   the interpreter that makes the environment (3.11 or later)
#   VENV=DIR            where the environment lies
#   TORCH=own           keep the torch (2.11 or later) that PYTHON already has, such as the CUDA build of a GPU machine
#   JOBS=3              how many processes run tests side by side, best one more than cores; some start eight ranks and need 4 GB

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
# An environment that was made with TORCH=own stays so.
TORCH ?= $(if $(shell grep -s 'site-packages = true' $(VENV)/pyvenv.cfg),own,pinned)
JOBS ?= 3
BIN := $(VENV)/bin
PYTEST := HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses $(JOBS)
# Python's own cache of compiled modules saves several seconds per process; some container images turn it off.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := $(VENV)/installed
INSTALLED_TEST := $(VENV)/installed-test

.PHONY: help setup demo up down check test soak lint clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(INSTALLED)  ## make the environment in .venv

demo: $(INSTALLED)  ## the whole lifecycle on the sample text
	@$(BIN)/pretune run demo

up: $(INSTALLED)  ## start Prefect, MLflow and a worker on this machine
	@$(BIN)/pretune up

down:  ## stop them
	@if [ -x $(BIN)/pretune ]; then $(BIN)/pretune down; else echo "nothing runs: there is no environment in $(VENV)"; fi

check: lint  ## style, rules and the tests that start no process (3 minutes)
	@$(PYTEST) -m "not process and not soak" tests/rules tests/unit

test: $(INSTALLED_TEST)  ## every promise once, on real processes and servers (27 minutes on two cores)
	@$(PYTEST) -m "not soak"

soak: $(INSTALLED_TEST)  ## all tests, among them every layout, stop and kill (35 minutes)
	@$(PYTEST)

lint: $(INSTALLED_TEST)  ## check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

clean:  ## remove the environment; what was trained stays
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache

# A stamp is written after its installation succeeded, and taken away before one begins: an interrupted one is begun again,
# and pip keeps the packages that were complete.
$(INSTALLED): pyproject.toml constraints.txt
	@$(call install,gguf$(comma)sample$(comma)serve,about 2 minutes the first time)
	@touch $@

$(INSTALLED_TEST): pyproject.toml constraints.txt
	@$(call install,gguf$(comma)sample$(comma)serve$(comma)ray$(comma)s3$(comma)test,about 2 minutes the first time)
	@touch $(INSTALLED) $@

comma := ,

# $(call install,EXTRAS,TIME) makes the environment where it is missing, installs, and says how far it is.
define install
set -eu -o pipefail; \
rm -f $(INSTALLED) $(INSTALLED_TEST); \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || { echo "pretune needs Python 3.11 or later, and '$(PYTHON)' is not one; name one with make PYTHON=..."; exit 1; }; \
$(BIN)/python -m pip --version >/dev/null 2>&1 \
  || $(PYTHON) -m venv $(if $(filter own,$(TORCH)),--system-site-packages) $(VENV); \
$(if $(filter own,$(TORCH)),grep -v '^torch==',cat) constraints.txt >$(VENV)/constraints.txt; \
echo "installing pretune[$(1)] into $(VENV): $(2), all output in $(VENV)/install.log"; \
PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile --progress-bar off \
  -c $(VENV)/constraints.txt -e '.[$(1)]' 2>&1 | tee $(VENV)/install.log | { $(show_progress); } \
  || { echo "the installation failed; the end of $(VENV)/install.log says:"; tail -n 15 $(VENV)/install.log; exit 1; }; \
$(first_import)
endef

# pip would compile 21,000 modules one after the other, and 4,000 are used: importing what is used compiles just those, and
# shows at once whether the environment works.
define first_import
echo "  importing the packages for the first time"; \
$(BIN)/python -c 'import torch, transformers, datasets, accelerate, sklearn.linear_model, matplotlib.pyplot' & compute=$$!; \
$(BIN)/python -c 'import prefect.flows, prefect.server.api.server, mlflow'; \
wait $$compute
endef

define show_progress
n=0; while IFS= read -r line; do case "$$line" in \
  Collecting*) n=$$((n + 1)); if ((n % 20 == 0)); then echo "  $$n packages found"; fi ;; \
  "Installing collected"*) echo "  unpacking $$(wc -w <<<"$${line#*:}") packages, the longest part" ;; \
esac; done
endef
