PY := .venv/bin/python
INSTALL = UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" .venv/bin/uv pip install -q -c constraints.txt
DEMO := demo
RECORDS := runs
RUN = .venv/bin/nfbench run --preset tiny

.PHONY: setup demo records test lint docs clean constraints

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	test -x .venv/bin/uv || .venv/bin/pip install -q uv
	$(INSTALL) -e '.[dev]'
	touch $@

demo: setup  ## all five methods on data made here, six minutes on two cores: boards and demo/index.html
	$(RUN) nerf,mean-colour,nearest-view procedural/knot --budget 32s --runs $(DEMO)/runs
	$(RUN) idr,mean-colour procedural/torus --budget 20s --runs $(DEMO)/runs
	$(RUN) srn,mean-colour,nearest-view procedural-cars/one-view --budget 30s --runs $(DEMO)/runs
	$(RUN) deepsdf,bounding-box procedural-shapes/sdf-to-shape --budget 10s --runs $(DEMO)/runs
	$(RUN) occupancy-network,bounding-box procedural-shapes/points-to-shape --budget 20s --runs $(DEMO)/runs
	.venv/bin/nfbench board --runs $(DEMO)/runs --as html -o $(DEMO)/index.html

records: setup  ## every method on the procedural tasks that it can take, 25 minutes on two cores: leaderboards/records
	for scene in knot vase gear torus; do \
	  $(RUN) nerf,mean-colour,nearest-view,visual-hull,bounding-box procedural/$$scene --budget 90s --runs $(RECORDS) || exit; \
	  $(RUN) idr procedural/$$scene --budget 75s --runs $(RECORDS) || exit; \
	done
	$(RUN) srn,mean-colour,nearest-view,bounding-box procedural-cars/one-view --budget 90s --runs $(RECORDS)
	$(RUN) deepsdf,bounding-box procedural-shapes/sdf-to-shape --budget 60s --runs $(RECORDS)
	$(RUN) deepsdf-single procedural-shapes/sdf-to-shape --budget 20s --runs $(RECORDS)
	$(RUN) occupancy-network,bounding-box procedural-shapes/points-to-shape --budget 90s --runs $(RECORDS)
	$(RUN) occupancy-network-image,bounding-box procedural-shapes/image-to-shape --budget 90s --runs $(RECORDS)
	$(RUN) occupancy-network-voxels,bounding-box procedural-shapes/voxels-to-shape --budget 90s --runs $(RECORDS)
	.venv/bin/nfbench board --runs $(RECORDS) --as markdown -o leaderboards/records/procedural.md
	.venv/bin/nfbench board --runs $(RECORDS) --as json -o leaderboards/records/procedural.json

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
