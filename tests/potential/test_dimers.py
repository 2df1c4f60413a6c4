"""Any model repels where atoms are closer than in the data: all pairs of elements of the shipped sets."""

import jax
import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.datasets import load_dataset
from jorbit.datasets.shipped import FOLDER
from jorbit.models import MODELS
from jorbit.potential import Potential
from jorbit.potential.dimers import dimer_curves, guarded
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.terms.zbl import ZBL
from jorbit.testing import systems

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def shipped():
    """One structure of each shipped set, and their species with one more, phosphorus, that is in none."""
    structures = [next(iter(load_dataset(path.stem))).structure for path in sorted(FOLDER.glob("*.npz"))]
    return structures, SpeciesTable.from_numbers(sorted({15} | {int(z) for s in structures for z in s.numbers}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ani", "hipnn", "two_body_gap"])
def test_a_model_with_any_weights_repels_from_a_tenth_of_an_angstrom_to_almost_the_shortest_distance(name, shipped):
    structures, species = shipped
    n = len(species)
    model = MODELS.load(name).tiny(n_species=n)
    potential = Potential((ReferenceEnergy(n_species=n), model), species)
    params = jax.jit(lambda g: potential.init(jax.random.key(0), g))(potential.graph(structures[0]))
    # Random weights, made large: pairs attract each other by electronvolts where no data would have told better.
    if name == "two_body_gap":
        random = np.random.default_rng(0).normal(size=params[name]["coefficients"].shape)
        params[name] = {**params[name], "coefficients": jax.numpy.asarray(5 * random)}
    else:  # matrices only: centres and widths of radial functions stay what they are
        params[name] = jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, params[name])
    safe, whole = guarded(potential, params, structures)
    grid = np.linspace(0.1, 2.9, 60)
    _, slopes = dimer_curves(safe, whole, grid)
    _, own = dimer_curves(Potential(safe.terms[-1:], species), {"repulsion": whole["repulsion"]}, grid)
    pulls = False
    for a, b in np.ndindex(n, n):
        near = grid <= 0.97 * whole["repulsion"]["reach"][a, b]  # that of the data, see test_repulsion.py
        assert (slopes[a, b][near] < 0).all(), species.names[a] + species.names[b]
        pulls |= bool((slopes[a, b] - own[a, b] > 0)[near].any())
    assert pulls  # without the repulsion some pair would attract there


@pytest.mark.slow
def test_on_the_structures_themselves_nothing_changes():
    structure = systems.water()
    model = MODELS.load("linear_ace").tiny(n_species=len(systems.SPECIES))
    potential = Potential((ZBL(), model), systems.SPECIES)  # a fixed repulsion may be too weak, and stays
    params = potential.init(jax.random.key(0), potential.graph(structure))
    params["linear_ace"]["coefficients"] = np.random.default_rng(0).normal(
        size=params["linear_ace"]["coefficients"].shape
    )
    safe, whole = guarded(potential, params, [structure])
    before = potential.energy(params, potential.graph(structure, dtype="float64"))[0]
    assert before != 0 and safe.energy(whole, safe.graph(structure, dtype="float64"))[0] == before
    # Silicon is in the table, not in the water: it keeps the distance of covalent radii, as the one oxygen does.
    reach = np.array([[np.nan, np.nan, 1.42], [np.nan, 1.32, 1.77], [1.42, 1.77, 2.22]])
    known = np.isfinite(reach)
    np.testing.assert_allclose(whole["repulsion"]["reach"][known], reach[known], rtol=1e-6)
    with pytest.raises(ConfigError, match="call secure"):
        guarded(safe, whole, [structure])
    with pytest.raises(ConfigError, match="got none"):
        guarded(potential, params, [])
