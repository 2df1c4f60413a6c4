"""ACSF, AEV, SOAP and Coulomb matrices against numbers of dscribe, featomic and torchani stored with their provenance.

benchmarks/parity/descriptors.py makes the numbers and compares all derivatives; here they are contracted with fixed
weights, so that one reverse pass checks every one of them.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.descriptors import DESCRIPTORS
from jorbit.graphs.batching import build_graph

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())
TOLERANCE = {None: 1e-8, "analytic": 1e-8, "autograd": 1e-8, "numerical": 1e-6}  # the peer's central differences


def frozen(value):
    return tuple(frozen(x) for x in value) if isinstance(value, list) else value


def graph_and_descriptor(one: dict):
    descriptor = DESCRIPTORS.load(one["descriptor"])(**{k: frozen(v) for k, v in one["options"].items()})
    atoms, periodic = one["atoms"], one["atoms"]["cell"] is not None
    structure = Structure(
        positions=np.array(atoms["positions"]),
        numbers=np.array(atoms["numbers"]),
        cell=np.array(atoms["cell"]) if periodic else np.zeros((3, 3)),
        pbc=np.full(3, periodic),
    )
    cutoff = descriptor.needs.cutoff
    cutoffs = [] if cutoff is None else [cutoff]
    return build_graph(structure, SpeciesTable.from_numbers([1, 8, 14]), cutoffs, dtype=jnp.float64), descriptor


@pytest.mark.parametrize("one", GOLDEN, ids=lambda one: f"{one['name']} ({one['peer']} {one['version']})")
def test_features_and_derivatives_equal_the_peers(x64, one):
    graph, descriptor = graph_and_descriptor(one)
    wanted = np.array(one["features"])
    rows, n = wanted.shape[0], len(one["atoms"]["numbers"])
    i, f = np.indices(wanted.shape)
    weights = jnp.asarray(np.cos(1.0 + i + f))

    def pulled(positions):
        features = descriptor(graph.replace(positions=positions))[:rows]
        return jnp.sum(features * weights), features

    if "pulled" not in one:
        features = jax.jit(pulled)(graph.positions)[1]
    else:
        slopes, features = jax.jit(jax.grad(pulled, has_aux=True))(graph.positions)
    np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())
    if "pulled" in one:
        expected = np.array(one["pulled"])
        atol = TOLERANCE[one["derivatives"]] * np.abs(expected).max()
        np.testing.assert_allclose(slopes[:n], expected, rtol=0, atol=atol)
