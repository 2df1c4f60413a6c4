"""The toy terms of these tests are registered while they run, as a plug-in's would be."""

import pathlib
import sys

import pytest

from jorbit.models import MODELS

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(autouse=True, scope="module")
def toy_terms():
    """Known to the registry while the tests of one file run, and gone before those of another room start."""
    added = {"toy_pair": "toy_pair:ToyPair", "fixed_spring": "toy_pair:FixedSpring"}
    added["random_start"] = "toy_pair:RandomStart"
    MODELS._all().update(added)
    yield
    for name in added:
        del MODELS._all()[name]
