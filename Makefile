PYTHON ?= python3
SHELL := /bin/bash
UV ?= uv

export PYTHON
BIN := .venv/bin

.PHONY: help run test test-faults test-image test-knative test-observe test-ollama load check dashboards bench eval sbom lock
help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 13

run:  ## everything on this machine, until Ctrl-C; installs what it needs first
	@knts/local/bootstrap.sh run
	@exec $(BIN)/python -m knts.local

test:  ## every test, two files at a time (pytest's arguments by ARGS="…"; ARGS="-n 0 …" one at a time)
	@knts/local/bootstrap.sh dev
	@KNTS_CHROMIUM="$${KNTS_CHROMIUM:-$$(knts/local/browser.sh)}" exec $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-knative:  ## the same road and the Broker contract on Knative's real data plane (Linux, Go; some minutes of building at first)
	@knts/local/bootstrap.sh dev
	@tools/build.sh knative
	@KNTS_CHROMIUM="$${KNTS_CHROMIUM:-$$(knts/local/browser.sh)}" exec tests/knative/apart.sh $(BIN)/python -m pytest tests/knative -s $(ARGS)

test-faults:  ## kill, pause and restart everything under load (about 12 minutes; KNTS_FAULT_SECONDS, KNTS_FAULT_EVENTS, KNTS_FAULT_SEED)
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python -m pytest tests/faults -s $(ARGS)

test-ollama:  ## the client of Ollama and llm-answer on a real one, which is built first (Go, a C++ compiler; a minute or two)
	@knts/local/bootstrap.sh dev
	@tools/build.sh ollama >/dev/null
	@exec $(BIN)/python -m pytest tests/ollama $(ARGS)

test-image:  ## the image's own steps and command, without a container (about 1 minute)
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python -m pytest tests/image --timeout 600 $(ARGS)

test-observe:  ## alarms by promtool; every query of dashboards and rules asked of a real Prometheus (two minutes; needs Debian's prometheus)
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || { echo 'make test-observe: promtool and prometheus are needed: apt install prometheus' >&2; exit 1; }
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python -m pytest tests/observe $(ARGS)

load:  ## a rising load to the knee and past it, then 5,000 open streams (about 6 minutes; ARGS=steps or ARGS=streams for one)
	@knts/local/bootstrap.sh load
	@exec $(BIN)/python -m tests.load $(ARGS)

check:  ## lint, format, types, import contracts, schemas and manifests
	@knts/local/bootstrap.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m knts.local.check

dashboards:  ## write Grafana's dashboards from tools/dashboards.py
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python tools/dashboards.py

bench:  ## what docs/performance.md quotes
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python -m bench $(ARGS)

eval:  ## what docs/quality.md quotes: how good what comes back is (ARGS="citations abstention" for some parts)
	@knts/local/bootstrap.sh dev
	@exec $(BIN)/python -m bench.eval $(ARGS)

sbom:  ## the image's list of parts (CycloneDX) as sbom.json
	@deploy/sbom.sh sbom.json

lock:  ## compile requirements*.in into hash-pinned requirements*.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-local.in -o requirements-local.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-load.in -o requirements-load.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-audit.in -o requirements-audit.txt
	$(UV) pip compile -q --universal --no-deps --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-nodeps.in -o requirements-nodeps.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-sbom.in -o requirements-sbom.txt
