"""Projections of the far potential against derivatives of it, in open space, bulk and slabs; what decays as 1 / r."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import space

import jorbit
from jorbit.basis.electrostatics import Splitting, coulomb_potential
from jorbit.basis.far_potential import boys, potential_coefficients
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.units import COULOMB
from jorbit.descriptors.lode import LODE
from jorbit.descriptors.pruned import Pruned
from jorbit.descriptors.separation import separate
from jorbit.graphs.batching import build_graph
from jorbit.models.readout import Readout
from jorbit.potential.potential import Potential
from jorbit.simulate import run
from jorbit.testing import systems
from jorbit.testing.systems import SPECIES

pytestmark = pytest.mark.usefixtures("x64")
WIDTH = 1.1


def splitting(accuracy: float) -> Splitting:
    return Splitting(WIDTH * np.sqrt(-2 * np.log(accuracy)), accuracy, 40.0)


def test_boys_functions_are_their_integrals():
    u, w = np.polynomial.legendre.leggauss(60)
    u, w = (u + 1) / 2, w / 2
    t = np.array([0.0, 1e-3, 0.5, 0.999, 1.001, 7.0, 60.0])
    for degree, values in enumerate(boys(jnp.asarray(t), 3)):
        wanted = (w * u ** (2 * degree) * np.exp(-t[:, None] * u**2)).sum(axis=1)
        np.testing.assert_allclose(values, wanted, rtol=1e-12)


@pytest.mark.slow
def test_coefficients_are_derivatives_of_the_potential_in_open_space_and_bulk():
    members = [systems.water(), systems.rattled_silicon()]
    graph = build_graph(members, SPECIES, [], dtype=jnp.float64)
    sources = jnp.where(graph.atom_mask, 1.0, 0.0)[:, None]
    settings = splitting(1e-10)

    def potentials(positions):
        # The third atom moves, in both structures, and nothing else: what it feels is what all others make.
        moved = dataclasses.replace(graph, positions=positions)
        return coulomb_potential(moved, sources, settings, points=False)[:, 0] / COULOMB

    @jax.jit
    def both(positions):
        found = potential_coefficients(graph, sources, WIDTH, 2, settings)[:, 0]
        return found, potentials(positions), jax.jacfwd(potentials)(positions)

    found, value, slopes = (np.asarray(x) for x in both(graph.positions))
    n = 3 + 8
    np.testing.assert_allclose(found[:n, 0], WIDTH * value[:n], atol=1e-9)
    # The potential at i depends on r_i and, the other way round, on all others; its own part of the field is that of i.
    own = np.stack([slopes[k, k] for k in range(n)])
    np.testing.assert_allclose(found[:n, 1:4], WIDTH**2 * np.sqrt(3) * own[:, [1, 2, 0]], atol=1e-8)
    assert not np.any(found[n:])


def test_second_derivatives_are_those_of_erf():
    s = systems.dimer(1.7, (8, 1))
    graph = build_graph(s, SPECIES, [], dtype=jnp.float64)
    sources = jnp.where(graph.atom_mask, 1.0, 0.0)[:, None]
    found = np.asarray(potential_coefficients(graph, sources, WIDTH, 2, splitting(1e-6)))[0, 0]

    def potential(r):
        d = jnp.linalg.norm(r - s.positions[1])
        return jax.scipy.special.erf(d / (np.sqrt(2) * WIDTH)) / d

    hessian = np.asarray(jax.hessian(potential)(jnp.asarray(s.positions[0])))
    factor = WIDTH**3 * np.sqrt(15)  # Y_2-2 = sqrt(15) x y, Y_2-1 = sqrt(15) y z, Y_21 = sqrt(15) x z
    np.testing.assert_allclose(found[[4, 5, 7]], factor * hessian[[0, 1, 0], [1, 2, 2]], atol=1e-10)


@pytest.mark.slow
def test_slabs_do_not_feel_how_much_empty_space_lies_beside_them():
    graph = build_graph(systems.slab(), SPECIES, [], dtype=jnp.float64)
    tables = [LODE(3, (WIDTH,), 3, accuracy, 60.0)(graph) for accuracy in (1e-9, 1e-12)]
    assert np.abs(tables[0]).max() > 0.1
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-7)


def test_a_far_ion_is_seen_as_one_over_its_distance():
    table, values = SpeciesTable.from_numbers([11, 17]), []
    for r in (20.0, 40.0):
        pair = dataclasses.replace(systems.dimer(r, (11, 17)))
        values.append(np.asarray(LODE(2, (1.0, 2.0))(build_graph(pair, table, [], dtype=jnp.float64)))[0])
    np.testing.assert_allclose(values[0][[1, 3]], [1 / 20.0, 2 / 20.0], rtol=1e-12)  # chlorine, both widths
    np.testing.assert_allclose(values[0][[1, 3]], 2 * values[1][[1, 3]], rtol=1e-12)


def test_degrees_beyond_three_are_refused():
    with pytest.raises(ConfigError, match="l_max of 0 to 3"):
        LODE(1, l_max=4)


def far_apart(length):
    """Two atoms in a cubic cell."""
    pair = systems.dimer(2.0, (14, 8))
    return dataclasses.replace(pair, cell=length * np.eye(3), pbc=np.ones(3, dtype=bool))


@pytest.mark.parametrize("pruned", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_potential_refuses_cells_that_have_longer_vectors_than_waves(pruned):
    """The features there are NaN; nobody should find that out from an energy."""
    lode = LODE(n_species=3, widths=(2.5,), l_max=1, accuracy=1e-2, max_length=20.0)
    descriptor = Pruned(lode, (0, 1, 2)) if pruned else lode
    potential = Potential((Readout(descriptor=descriptor, n_species=3, hidden=()),), SPECIES)
    fits, too_long = far_apart(19.0), far_apart(25.0)
    params = potential.init(jax.random.key(0), potential.graph(fits))
    assert np.isfinite(jorbit.predict(potential, params, fits).energy)
    asked = {
        "graph": lambda: potential.graph(too_long),
        "predict": lambda: jorbit.predict(potential, params, too_long),
        "run": lambda: run(potential, params, too_long, n_steps=1, progress=False),
        "jax-md": lambda: jorbit.to_jax_md(potential, params, space.periodic(25.0)[0], 25.0, numbers=[14, 8]),
        "separate": lambda: separate(fits, too_long, descriptor),
    }
    for ask in asked.values():
        with (
            jax.numpy_dtype_promotion("standard"),  # jax-md
            pytest.raises(StructureError, match=r"max_length=20 .* 25.00 Å: .*Set max_length=26"),
        ):
            ask()
