PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := $(addprefix robo_rl.,api errors verdicts registry engines robots injection rewards envs policy scenarios \
	rollouts report importing interop safety_eval sim2real training)

.PHONY: demo test install lint types wheel docs bench clean

demo: $(STAMP)          ## train, compare, judge and check two policies (about six minutes)
	$(BIN)/robo-rl demo out=runs/demo-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP)          ## run the tests
	$(BIN)/python -m pytest

install: $(STAMP)       ## create .venv with everything in it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

lint: $(STAMP)          ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)         ## types
	$(BIN)/pyright

wheel: $(STAMP)         ## build the wheel, install it elsewhere, look for every content file
	$(BIN)/python tests/check_wheel.py

docs: $(VENV)/.docs     ## API reference from the docstrings, into build/reference
	$(BIN)/pdoc --docformat google --output-directory build/reference $(ROOMS)

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pdoc==16.0.0
	touch $@

bench: $(STAMP) .venv-bench  ## speed side by side with peers (EnvPool and SBX get a venv of their own)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/time_to_return.py
	$(BIN)/python benchmarks/resume.py

.venv-bench:
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 envpool==1.2.5 sbx-rl "gymnasium[mujoco]" mujoco==3.17.0

clean:
	rm -rf $(VENV) .venv-bench build dist *.egg-info
