"""Vectors of orbits that are drawn at random depend on the key they are drawn with."""

import jax
import numpy as np
import pytest

from jorbit.basis.label_embedding import LABEL_MODES, label_embedding


@pytest.mark.parametrize("mode", LABEL_MODES)
def test_every_random_number_of_a_start_comes_from_its_key(mode):
    embedding = label_embedding(mode, [0, 0, 1], 6)
    first, again, other = (embedding.init(jax.random.key(k)) for k in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        if np.any(values):
            assert np.abs(np.asarray(values) - np.asarray(other[name])).max() > 0.01
