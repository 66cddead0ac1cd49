# Targets for a fresh clone; `make help` lists them.
#
#   PYTHON=python3.12   the interpreter of the virtual environment
#                       (default: the first of python3.11, python3.12 that can create one)
#   PIP_FIND_LINKS=DIR  folders with wheels, read by pip
#   ARGS='...'          additional arguments of `make demo` and `make test`
#   DATA=FOLDER         folder of images for `make demo`
#   JOBS=4              processes of `make test`, one thread each (default: number of cores,
#                       at most 4; each process needs 1 GB)
SHELL := /bin/bash
VENV  := .venv
PY    := $(VENV)/bin/python
PIP   := $(PY) -m pip --disable-pip-version-check
READY := $(VENV)/.orl_mm-ready
MMCV  := $(shell sed -n 's/^onedl-mmcv==/onedl-mmcv==/p' requirements.txt)
HEADLESS := $(shell grep '^opencv-python-headless==' requirements.txt)
ARGS  ?=
DATA  ?=
JOBS  ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

.PHONY: help env ops demo demo-medino test test-lowest lint
.DEFAULT_GOAL := help

help:
	@echo "make env    create the virtual environment $(VENV); needs no compiler (1 to 3 minutes)"
	@echo "make demo   env, then train R2O on a few photographs (minutes on 2 cores): work_dirs/demo"
	@echo "            DATA=FOLDER  train on a folder of images instead"
	@echo "make demo-medino   env, then train MeDINO on drawn chests: work_dirs/demo_medino"
	@echo "make test   env, then run the tests (ARGS='-m slow' for the slow ones)"
	@echo "make test-lowest   the same with the lowest versions that pyproject.toml allows: .venv-lowest"
	@echo "make lint   env, then run ruff and mypy"
	@echo "make ops    env, then compile mmcv's ops, needed only for COCO (10 minutes or more)"

env: $(READY)
	@echo "To activate: source $(VENV)/bin/activate   (or run $(PY) tools/train.py ...)"

# Each candidate is tested for venv and ensurepip: version managers leave commands of inactive
# versions on the path, and some systems ship Python without ensurepip.
$(PY):
	@set -e; chosen=; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3 python); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11) or \
	      (not "$(PYTHON)" and sys.version_info >= (3, 13)))' >/dev/null 2>&1; then \
	    chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "No usable $(if $(PYTHON),$(PYTHON),Python 3.11 or 3.12) found (it needs the modules venv and ensurepip)."; \
	  echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv) or specify one: make env PYTHON=/path/to/python3.11"; \
	  exit 1; fi; \
	echo "[1/4] Virtual environment $(VENV) with $$($$chosen --version)"; \
	"$$chosen" -m venv $(VENV)

$(READY): requirements.txt pyproject.toml | $(PY)
	@echo "[2/4] Packages of requirements.txt (59 s from local wheels, otherwise a download of 2 to 5 GB)"
	$(PIP) install -r requirements.txt
	@echo "[3/4] $(HEADLESS) again, to overwrite the files of opencv-python (a dependency of imaug),"
	@echo "      which cannot be imported on a server without libGL"
	$(PIP) install --force-reinstall --no-deps $(HEADLESS)
	@echo "[4/4] orl_mm, editable"
	$(PIP) install --no-build-isolation --no-deps -e .
	@$(PY) -c "import cv2, orl_mm, mmcv, torch; print('Ready: Python', '.'.join(map(str, __import__('sys').version_info[:3])), 'torch', torch.__version__, 'opencv', cv2.__version__)"
	@$(PY) -c "import mmcv.ops" 2>/dev/null && echo "mmcv has its compiled ops." \
	  || echo "mmcv has no compiled ops; they are needed only for COCO (make ops)."
	@touch $@

# No isolation, because the build imports torch. No cache, because pip may have cached a build of
# mmcv without ops.
ops: $(READY)
	@if $(PY) -c "import mmcv.ops" 2>/dev/null; then \
	  echo "mmcv's compiled ops are already installed."; \
	else set -e; \
	  command -v g++ >/dev/null || command -v c++ >/dev/null || { \
	    echo "mmcv's ops need a C++ compiler (Debian, Ubuntu: apt install g++)."; exit 1; }; \
	  echo "Compiling mmcv's ops: 10.5 minutes on 2 cores without CUDA, longer with CUDA; the compiler's output shows the progress."; \
	  $(PIP) install wheel ninja; \
	  MMCV_WITH_OPS=1 $(PIP) install -v --no-build-isolation --no-cache-dir --no-deps \
	    --no-binary onedl-mmcv --force-reinstall $(MMCV); \
	  $(PY) -c "import mmcv.ops; print('mmcv.ops imports.')"; \
	fi

demo: $(READY)
	$(if $(DATA),ORL_DEMO_DATA='$(DATA)') $(PY) tools/train.py configs/r2o/demo.py --work-dir work_dirs/demo $(ARGS)

PHANTOM := work_dirs/phantom
demo-medino: $(READY)
	$(PY) tools/make_phantom.py $(PHANTOM) --num 128
	$(PY) tools/register_templates.py --exemplar-root $(PHANTOM) --exemplar-id phantom_00000 \
	  --config configs/medino/demo.py --out $(PHANTOM)/templates --truth $(PHANTOM)
	$(PY) tools/train.py configs/medino/demo.py --work-dir work_dirs/demo_medino $(ARGS)
	$(PY) tools/test.py configs/transfer/phantom/attention_small.py \
	  work_dirs/demo_medino/epoch_20.pth --work-dir work_dirs/demo_medino/test

test: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --durations=15 $(ARGS)

# The lowest version of every range in pyproject.toml, without mmcv's compiled ops.
LOWEST := .venv-lowest
$(LOWEST)/requirements.txt: pyproject.toml | $(PY)
	$(PY) -m venv --clear $(LOWEST)
	$(PY) -c "import re, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	  extras = project['optional-dependencies']; \
	  ranges = sum((extras[name] for name in extras if name != 'lint'), project['dependencies']); \
	  print(*(re.sub('>=([^,]+).*', r'==\\1', text) for text in ranges), sep='\n')" > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --no-binary onedl-mmcv 'setuptools>=77' -r $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --no-build-isolation --no-deps -e .
	mv $(LOWEST)/lowest.txt $@

test-lowest: $(LOWEST)/requirements.txt
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy
