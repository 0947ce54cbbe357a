# The two commands: `make report` measures this machine and prints the report's path; `make test`
# runs the tests. Both set up .venv on first use, from git, make and Python >= 3.11 alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: report test oracles faults lint docs clean

report: $(VENV)/.installed
	@echo "measuring and tracing the study quick (some minutes; after Ctrl-C, make report continues)"
	@$(BIN)/benchsuite run quick --trace || [ $$? -eq 1 ] # the report shows failed cases too
	@echo "writing the report"
	@$(BIN)/benchsuite report quick

# A process per core; threads of torch and BLAS would only wait for them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test: $(VENV)/.installed-dev
	$(PYTEST)

# Comparisons with torch's layers in every option, compilers, interpreters, and pages in a browser.
oracles: $(VENV)/.installed-dev
	$(PYTEST) -m "oracle or browser"

# Faults and hostile input tried for real, see docs/faults.md. FUZZ_SECONDS: for each kind of input;
# FAULTS_SECONDS: for all of it.
faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -v -m faults --durations=10

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed # the tables of the documentation, from the catalog
	{ sed '/^## /,$$d' docs/catalog.md; $(BIN)/benchsuite list --markdown; } > docs/catalog.tmp
	mv docs/catalog.tmp docs/catalog.md

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; set PYTHON=")'
	@echo "setting up $(VENV): pip installs torch and more, several hundred MB (once, some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "setting up $(VENV): pip installs what the tests need (once)"
	@$(PIP) -e '.[dev]'
	@touch $@
