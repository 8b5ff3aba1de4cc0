"""What the specs of formats say without importing them is what their modules say."""

import pytest

from nfbench.harness.dataset import loader
from nfbench.harness.registry import registry


@pytest.mark.parametrize("name", registry().formats)
def test_a_spec_tells_what_its_module_gives(name):
    spec = registry().formats[name]
    module = loader(spec)
    assert spec.given == module.given
    assert spec.inputs == getattr(module, "inputs", ())
