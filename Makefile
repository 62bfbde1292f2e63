# Every target sets up what it needs first; on a bare machine with Python 3.11, gcc and make they just work.

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2
SOURCES := appliance _speedups tests bench setup.py

.PHONY: setup test check lint bench pictures redteam noninterference demo lock schemas clean help

help:
	@echo 'make demo        a governed sample database and a guided tour (TOUR=only ends after the tour, DB=mysql: on MariaDB)'
	@echo 'make setup       .venv with everything, extensions built; afterwards .venv/bin/sallyport works'
	@echo 'make test        all tests; make check adds ruff, mypy, import rules'
	@echo 'make bench       the benchmarks (DB=mysql: those for MariaDB)'
	@echo 'make pictures    every page of the console, light and dark, desktop and phone, into build/pictures'
	@echo 'make redteam     the attack, benign and guard corpora on every PostgreSQL with contrib modules (JOBS=2, PG=15|18)'
	@echo '                 DB=mysql: the corpora for MariaDB instead, with the same options; TIMES=5: reads are said so often'
	@echo '                 CORPUS=file.jsonl KIND=attacks|benign|guard: one file, the runner'"'"'s JSON last, its exit status'
	@echo '                 PLAIN=1: as rt_plain, who owes no mask; DIRECT=1: round Sallyport; EVERYTHING=1: policy allows all'
	@echo '                 SERVE=1: stays up, one line of JSON on stdout, ended by SIGTERM (see tests/redteam/__main__.py)'
	@echo '                 MASK=redact|null|... OWES=rt_analyst,rt_dba,rt_other (who sees masks) MODES=simple,ext ONLY=id,id'
	@echo 'make noninterference  random schemas and statements against databases equal once masked'
	@echo '                 SECONDS=600, SEED=n, PG=15|18'
	@echo 'make lock        constraints.txt anew from pyproject.toml'
	@echo 'make clean       away with everything that can be made again'

setup:
	@scripts/setup.sh

# Files in the order of their folders: those with servers first, so that unit tests fill up the end.
test: setup
	@scripts/test-programs.sh
	@scripts/mariadb.sh
	@$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo 'ruff format: run .venv/bin/ruff format' >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

check: lint test

bench: setup
ifeq ($(DB),mysql)
	@scripts/mariadb.sh
	@scripts/test-programs.sh haproxy sysbench
	@$(BIN)/python -m bench --db mysql $(ARGS)
else
	@scripts/test-programs.sh haproxy
	@$(BIN)/python -m bench $(ARGS)
endif

pictures: setup
	@scripts/test-programs.sh
	@SCREENSHOTS=build/pictures $(PYTEST) -q tests/browser/test_pictures.py

# Not $(JOBS) servers a version where one file is run: its JSON is one runner's own.
REDTEAM_OPTIONS = $(if $(MASK),--mask $(MASK)) $(if $(OWES),--owes $(OWES)) $(if $(EVERYTHING),--everything)
REDTEAM_RUN = $(if $(MODES),--modes $(MODES)) $(if $(ONLY),--only $(ONLY)) $(if $(DETAILS),--details $(DETAILS))

redteam:
	@$(MAKE) --no-print-directory setup >&2
	@scripts/test-programs.sh >&2
ifeq ($(DB),mysql)
	@scripts/mariadb.sh >&2
	@exec $(BIN)/python -m tests.redteam.mysql $(if $(SERVE),serve,$(if $(CORPUS),file,all)) $(REDTEAM_OPTIONS) \
		$(if $(TIMES),--times $(TIMES)) $(if $(SERVE),,$(REDTEAM_RUN) $(if $(CORPUS),--corpus '$(CORPUS)' --kind $(KIND) $(if $(PLAIN),--plain)))
else ifdef SERVE
	@exec $(BIN)/python -m tests.redteam serve $(if $(PG),--pg $(PG)) $(REDTEAM_OPTIONS)
else ifdef CORPUS
	@exec $(BIN)/python -m tests.redteam file --corpus '$(CORPUS)' --kind $(KIND) $(if $(PG),--pg $(PG)) \
		$(if $(PLAIN),--plain) $(if $(DIRECT),--direct) $(REDTEAM_RUN) $(REDTEAM_OPTIONS)
else
	@exec $(BIN)/python -m tests.redteam all --jobs $(JOBS) $(if $(PG),--pg $(PG)) $(REDTEAM_RUN) $(REDTEAM_OPTIONS)
endif

noninterference: setup
	@scripts/test-programs.sh
	@$(BIN)/python -m tests.differential.noninterference $(or $(SECONDS),600) '$(SEED)' $(PG)

demo:
	@$(if $(filter-out only,$(TOUR)),echo "make demo: TOUR=$(TOUR) is unknown; TOUR=only ends after the tour" >&2; exit 2)
	@SALLYPORT_EXTRAS=$${SALLYPORT_EXTRAS:-demo} scripts/setup.sh
	@$(if $(filter mysql,$(DB)),scripts/mariadb.sh programs)
	@exec $(BIN)/sallyport demo $(if $(DB),--database $(DB)) $(if $(filter only,$(TOUR)),--tour-only)

lock: setup
	@$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --extra dev --python-version 3.11 --python-platform linux \
		--no-annotate --no-header --no-emit-index-url --output-file constraints.txt

clean:
	rm -rf .venv .demo .mariadb build *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .benchmarks .import_linter_cache
	rm -f _speedups/*.so _speedups/*.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
