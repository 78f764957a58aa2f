# Everything a newcomer needs: Python 3.11 or newer, and make. See README.md.
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test lint bench compat live clean

demo: $(READY)  ## run the main example through real Airflow against a local sandbox
	$(RUN) scripts/demo.py

test: $(READY)  ## the whole suite: unit, sandbox, real gateway, example DAGs through Airflow
	$(RUN) -m pytest

lint: $(READY)  ## ruff and mypy, strict
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

live: $(READY)  ## the slow suite: other servers, whole Airflows and what may happen to them, a real browser
	$(RUN) -m pytest tests/live -o addopts="-ra --strict-markers --strict-config --import-mode=importlib"

bench: $(READY)  ## measure against peers in the same run
	$(RUN) -m benchmarks

compat: $(READY)  ## the main job on every supported Airflow
	$(RUN) scripts/compat.py

clean:
	rm -rf $(VENV) .cache demo-output

$(READY): pyproject.toml constraints.txt scripts/bootstrap.sh
	sh scripts/bootstrap.sh $(VENV)
	@touch $(READY)
