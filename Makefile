PYTHON ?= python3
SHELL := /bin/bash
UV ?= uv

.PHONY: lock
lock:  ## compile requirements*.in into hash-pinned requirements*.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-local.in -o requirements-local.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt
	$(UV) pip compile -q --universal --no-deps --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements-nodeps.in -o requirements-nodeps.txt
