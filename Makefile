PY := .venv/bin/python
INSTALL = UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" .venv/bin/uv pip install -q -c constraints.txt
DEMO := demo

.PHONY: setup demo test lint docs clean constraints

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	test -x .venv/bin/uv || .venv/bin/pip install -q uv
	$(INSTALL) -e '.[dev]'
	touch $@

demo: setup  ## two tasks on data made here, three and a half minutes on two cores: a board and demo/index.html
	.venv/bin/nfbench run nerf,mean-colour,nearest-view,visual-hull procedural/knot --preset tiny --budget 60s --runs $(DEMO)/runs
	.venv/bin/nfbench run occupancy-network,bounding-box procedural-shapes/points-to-shape --preset tiny --budget 60s --runs $(DEMO)/runs
	.venv/bin/nfbench board --runs $(DEMO)/runs --as html -o $(DEMO)/index.html

test: setup  ## give REAL=DIR to run the tests on real samples too
	$(PY) -m pytest $(if $(REAL),--real-data=$(REAL))

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: setup
	.venv/bin/sphinx-build -W -q -b html docs docs/_build/html

clean:
	rm -rf .venv $(DEMO) docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist

constraints:  ## after a change of the dependencies; torch stays where it is pinned
	grep '^torch==' constraints.txt > .torch.txt
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS .venv/bin/uv pip compile -q --universal --no-annotate --no-header \
	  --all-extras --python-version 3.11 -c .torch.txt -o constraints.txt pyproject.toml
	rm .torch.txt
