PY := .venv/bin/python
INSTALL = UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" .venv/bin/uv pip install -q -c constraints.txt

.PHONY: setup demo test lint docs clean constraints

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	test -x .venv/bin/uv || .venv/bin/pip install -q uv
	$(INSTALL) -e '.[dev]'
	touch $@

constraints:
	.venv/bin/uv pip compile -q --universal --no-annotate --no-header --all-extras --python-version 3.11 -o constraints.txt pyproject.toml
