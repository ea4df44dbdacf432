# `make book` builds the book, `make test` proves it. Everything lives in .venv/, which is made from
# requirements.txt and pyproject.toml and made again only when one of them changes.

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python
READY := .venv/.ready
BOOK := $(CURDIR)/_build/html/index.html
PORT ?= 8000
# Two workers with one thread each: two torch processes with two threads each on two cores are
# many times slower than that.
WORKERS ?= 2
SINGLE := OMP_NUM_THREADS=1
# Widgets in executed chapters become a few lines of HTML that a page brings to life by itself.
STATIC := GRAE_STATIC=1
# What shapes every page: when one of these changes, all pages are written anew.
SHELL_OF_BOOK := _config.yml _toc.yml requirements.txt book/references.bib \
	$(wildcard book/_static/*) $(wildcard grae_lib/sphinx_ext/*.py) \
	$(wildcard grae_lib/sphinx_ext/static/*) $(wildcard grae_lib/course/*)

.DEFAULT_GOAL := help
.PHONY: help book pages test lint unit nbval browser notebooks bench serve clean fork wheel zip \
	assignments grade slides pdf

help:
	@echo "make book       build the book and print the path to open"
	@echo "make test       style, unit tests, chapters run again and compared, book, browser"
	@echo "make lint       style and types only"
	@echo "make notebooks  execute the chapters whose code, library or data changed"
	@echo "make bench      time training steps of each objective, and the widgets in a browser"
	@echo "make assignments student and instructor versions of the assignments"
	@echo "make grade      ASSIGNMENT=grae SUBMISSIONS=folder: grades.csv and feedback/"
	@echo "make slides     the decks again, from the built pages (make book makes them too)"
	@echo "make serve      serve the built book at http://localhost:$(PORT)"
	@echo "make fork REPOSITORY=https://github.com/NAME/PROJECT   name another repository everywhere"
	@echo "make wheel      run the chapters from the built wheel in a clean environment (several GB)"
	@echo "make zip        the book as one file for a course page, with SHA-256 of every file in it"
	@echo "make pdf        the book as one PDF (needs Chromium)"
	@echo "make clean      remove what was built (keeps .venv)"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("The book needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Try: make PYTHON=python3.12 book" % v[:2])'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

book: $(READY) notebooks pages
	@echo
	@echo "The book is built. Open:"
	@echo "$(BOOK)"

# Chapters keep their outputs. A chapter whose code, library modules, data or pins changed since it
# was executed is executed again; the others are left alone.
notebooks: $(READY)
	$(SINGLE) $(STATIC) $(PY) -m grae_lib.sphinx_ext.notebooks run

_build/.shell: $(SHELL_OF_BOOK)
	@rm -rf _build/html _build/.doctrees
	@mkdir -p _build && touch $@

# -W makes a warning an error, -n a missing reference a warning: without -W a broken page exits 0.
# After a failure the pages that were read are forgotten: a second run would not read them again,
# warn of nothing, and pass.
pages: $(READY) _build/.shell
	$(BIN)/jupyter-book build . -W --keep-going -n --quiet \
		|| { rm -rf _build/.doctrees _build/.shell; exit 1; }

lint: $(READY)
	$(BIN)/ruff check .
	@if command -v node >/dev/null; then $(BIN)/pyright; \
	elif [ -n "$$CI" ]; then echo "pyright needs node, and CI has none" >&2; exit 1; \
	else echo "types were NOT checked: pyright needs node"; fi
	$(SINGLE) $(PY) -m grae_lib claims check
	$(PY) -m grae_lib.sphinx_ext.repository check

unit: $(READY)
	$(SINGLE) $(BIN)/pytest -n $(WORKERS)

nbval: $(READY)
	$(PY) -m grae_lib.sphinx_ext.notebooks check
	$(SINGLE) $(STATIC) $(BIN)/pytest -o addopts= --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg -p no:cacheprovider \
		-n $(WORKERS) --dist loadscope book

browser: $(READY) pages
	$(BIN)/pytest tests/browser

# In this order: the cheap checks first, and the pages only from chapters that were proved.
test: $(READY)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory nbval
	@$(MAKE) --no-print-directory browser

bench: $(READY)
	$(PY) -m grae_lib bench
	$(PY) tests/browser/bench_widgets.py

serve: $(READY)
	@test -f $(BOOK) || $(MAKE) --no-print-directory book
	$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

fork: $(READY)
	$(PY) -m grae_lib.sphinx_ext.repository set $(REPOSITORY)

wheel: $(READY)
	$(PY) tests/wheel.py $(WHEEL)

zip: $(READY) book
	$(PY) -m grae_lib.sphinx_ext.archive _build/html _build/book.zip

pdf: $(READY) pages
	$(PY) -m grae_lib.sphinx_ext.pdf _build/html _build/book.pdf

# Student versions are committed, since Colab opens them; the instructor's files stay in _build/.
assignments: $(READY)
	$(PY) -m grae_lib.course assignments

grade: assignments
	$(SINGLE) $(PY) -m grae_lib.course grade $(ASSIGNMENT) $(SUBMISSIONS) --jobs $(WORKERS)

slides: pages
	$(PY) -m grae_lib.course slides

clean:
	rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
