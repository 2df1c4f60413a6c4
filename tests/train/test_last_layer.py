"""The posterior of a last layer: which labels it is made of."""

import dataclasses

import numpy as np
import pytest
from toy_pair import PAIR_ONLY, labelled, random_structures

from jorbit.core.errors import DataError
from jorbit.train.uncertainty import last_layer_uncertainty

PARAMS = {"toy_pair": {"c": np.linspace(-1.0, 1.0, 12)}}


@pytest.fixture(scope="module")
def frames():
    truth = {"toy_pair": {"c": np.linspace(-1.0, 1.2, 12)}}
    return labelled(random_structures(4, periodic=False, seed=3), PAIR_ONLY, truth, ("energy", "forces"))


def changed(frames, **labels):
    return [dataclasses.replace(f, labels=dataclasses.replace(f.labels, **labels)) for f in frames]


@pytest.mark.parametrize("kind", ["energy", "forces"])
def test_labels_of_weight_zero_are_no_labels(frames, kind):
    absent = frames[:2] + changed(frames[2:], **{kind: None})
    ignored = frames[:2] + changed(frames[2:], **{f"{kind}_weight": 0.0})
    one, other, whole = (last_layer_uncertainty(PAIR_ONLY, PARAMS, some) for some in (absent, ignored, frames))
    np.testing.assert_array_equal(one.half, other.half)
    assert abs(np.linalg.norm(whole.half) - np.linalg.norm(one.half)) > 1e-6


def test_frames_without_labels_have_no_posterior(frames):
    with pytest.raises(DataError, match="energy or forces"):
        last_layer_uncertainty(PAIR_ONLY, PARAMS, changed(frames, energy=None, forces=None))
