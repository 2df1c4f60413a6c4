"""predict gives energies, forces, stress and Hessians that are derivatives of one energy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.core.compilation import compilations
from jorbit.core.errors import (
    ConfigError,
    MissingInputError,
    StructureError,
    UnknownSpeciesError,
)
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame, Structure
from jorbit.potential import Potential, hessian, hessian_vector_product, predict
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.testing import (
    finite_difference,
    finite_difference_forces,
    finite_difference_virial,
    systems,
    transformations,
)

SPECIES = SpeciesTable.from_numbers([1, 8, 14])
PAIRS = LennardJones(epsilon=0.02, sigma=1.5, cutoff=4.0, onset=2.0)
SHORT = LennardJones(epsilon=0.1, sigma=0.8, cutoff=2.5, onset=1.0)
POTENTIAL = Potential(terms=(ReferenceEnergy(n_species=3), PAIRS, SHORT), species=SPECIES)
PARAMS = {
    "reference_energy": {"energies": np.array([-13.6, -432.0, -7.9])},
    "lennard_jones": {},
    "lennard_jones_2": {},
}


def pair_energy(term: LennardJones, r: float) -> float:
    x = np.clip((r - term.onset) / (term.cutoff - term.onset), 0, 1)
    return 4 * term.epsilon * ((term.sigma / r) ** 12 - (term.sigma / r) ** 6) * (1 - 10 * x**3 + 15 * x**4 - 6 * x**5)


@pytest.mark.parametrize("r", [0.9, 1.7, 2.2, 3.1, 3.99, 4.5])
def test_a_dimer_has_the_energy_and_forces_written_down_by_hand(r, x64):
    result = predict(POTENTIAL, PARAMS, systems.dimer(r, (8, 1)))
    wanted = -432.0 - 13.6 + pair_energy(PAIRS, r) + pair_energy(SHORT, r)
    assert result.energy[0] == pytest.approx(wanted, abs=1e-12)
    assert result.energies.sum() == pytest.approx(wanted, abs=1e-12)
    slope = finite_difference(lambda h: pair_energy(PAIRS, r + h) + pair_energy(SHORT, r + h), 1e-4)
    np.testing.assert_allclose(result.forces[1], -slope * np.array([2.0, -1.0, 2.0]) / 3.0, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.forces.sum(axis=0), 0.0, atol=1e-12)
    assert not result.stress.any()


def energy(structure) -> float:
    return float(predict(POTENTIAL, PARAMS, structure).energy[0])


@pytest.mark.parametrize("name", ["water", "triclinic_crystal", "slab"])
def test_forces_are_minus_the_gradient(name, x64):
    structure = getattr(systems, name)()
    wanted = finite_difference_forces(energy, structure)
    got = predict(POTENTIAL, PARAMS, structure).forces
    np.testing.assert_allclose(got, wanted, atol=1e-6 * np.abs(wanted).max())


def test_stress_is_the_strain_derivative_over_the_volume(x64):
    structure = systems.triclinic_crystal()
    wanted = finite_difference_virial(energy, structure) / structure.volume
    got = predict(POTENTIAL, PARAMS, structure).stress[0]
    np.testing.assert_allclose(got, wanted, atol=1e-6 * np.abs(wanted).max())


def test_stress_is_positive_under_tension(x64):
    """A stretched crystal of a potential with a minimum pulls its walls inwards: dE/dV > 0."""
    argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))

    def pressure_like(length: float) -> float:
        fcc = length / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
        atom = dataclasses.replace(systems.single_atom(18), cell=fcc, pbc=np.ones(3, dtype=bool))
        return float(np.trace(predict(argon, {"lennard_jones": {}}, atom).stress[0]))

    assert pressure_like(5.6) > 0 > pressure_like(4.9)


def test_a_structure_without_a_full_cell_has_no_stress(x64):
    assert not predict(POTENTIAL, PARAMS, systems.slab()).stress.any()


def test_the_hessian_is_the_second_derivative(x64):
    structure = systems.triclinic_crystal()
    graph = POTENTIAL.graph(structure)
    got = np.asarray(hessian(POTENTIAL, PARAMS, graph))
    n = structure.n_atoms
    for i, x in np.ndindex(n, 3):
        unit = np.zeros((n, 3))
        unit[i, x] = 1.0
        wanted = -finite_difference(
            lambda h, unit=unit: predict(POTENTIAL, PARAMS, transformations.moved(structure, h * unit)).forces, 1e-4
        )
        np.testing.assert_allclose(got[:n, :, i, x], wanted, atol=1e-6 * np.abs(got).max())
    np.testing.assert_allclose(got, got.transpose(2, 3, 0, 1), atol=1e-12 * np.abs(got).max())
    assert not got[n:].any() and not got[:, :, n:].any()
    # Moving all atoms together costs nothing: the acoustic sum rule.
    np.testing.assert_allclose(got.sum(axis=2), 0.0, atol=1e-11 * np.abs(got).max())


def test_hessian_vector_products_are_the_hessian_times_vectors(x64):
    graph = POTENTIAL.graph(systems.water())
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(graph.n_atoms, 3)))
    full = hessian(POTENTIAL, PARAMS, graph)
    got = hessian_vector_product(POTENTIAL, PARAMS, graph, vectors)
    np.testing.assert_allclose(got, np.einsum("axby,by->ax", full, vectors), rtol=1e-10, atol=1e-10)


def test_structures_frames_graphs_and_sequences_give_the_same(x64):
    water, crystal = systems.water(), systems.triclinic_crystal()
    one = jorbit.predict(POTENTIAL, PARAMS, water)
    framed = jorbit.predict(POTENTIAL, PARAMS, Frame(structure=water))
    first, second = jorbit.predict(POTENTIAL, PARAMS, [water, Frame(structure=crystal)])
    padded = jorbit.predict(POTENTIAL, PARAMS, POTENTIAL.graph([water, crystal]))
    for other in (framed, first):
        np.testing.assert_array_equal(other.forces, one.forces)
    np.testing.assert_allclose(padded.energy[:2], [one.energy[0], second.energy[0]], rtol=1e-14)
    np.testing.assert_allclose(padded.forces[:3], one.forces, rtol=1e-12)
    np.testing.assert_allclose(padded.stress[1], second.stress[0], rtol=1e-12)
    assert one.forces.shape == (3, 3) and isinstance(one.forces, np.ndarray)


def test_the_same_sizes_compile_once(x64):
    before = compilations().get("predict", 0)
    potential = Potential(terms=(LennardJones(cutoff=3.33, onset=2.0),), species=SPECIES)
    for seed in range(4):
        predict(potential, {"lennard_jones": {}}, systems.rattled_silicon(0.02, seed))
    equal = Potential(terms=(LennardJones(cutoff=3.33, onset=2.0),), species=SPECIES)
    predict(equal, {"lennard_jones": {}}, systems.rattled_silicon(0.02, 9))
    assert compilations()["predict"] == before + 1


def test_each_term_sees_only_the_neighbours_it_asked_for(x64):
    """A long-range term beside a short-range one widens nothing: each keeps its own energy."""
    crystal = systems.triclinic_crystal()
    alone = [
        predict(Potential(terms=(term,), species=SPECIES), {"lennard_jones": {}}, crystal).energy[0]
        for term in (PAIRS, SHORT)
    ]
    references = PARAMS["reference_energy"]["energies"] @ [0, 2, 1]
    assert predict(POTENTIAL, PARAMS, crystal).energy[0] == pytest.approx(sum(alone) + references, rel=1e-13)
    assert POTENTIAL.cutoffs == (2.5, 4.0)
    short, long = POTENTIAL.graph(crystal).neighborhoods
    assert short.mask.sum() < long.mask.sum()


def test_repeated_terms_get_names_of_their_own():
    assert POTENTIAL.names == ("reference_energy", "lennard_jones", "lennard_jones_2")


def test_initial_parameters_have_one_entry_per_term():
    params = POTENTIAL.init(jax.random.key(0), POTENTIAL.graph(systems.water()))
    assert sorted(params) == sorted(POTENTIAL.names)


def test_missing_parameters_are_named():
    with pytest.raises(MissingInputError, match="needs 'lennard_jones_2'"):
        predict(POTENTIAL, {k: v for k, v in PARAMS.items() if k != "lennard_jones_2"}, systems.water())


@dataclasses.dataclass(frozen=True)
class WantsCharges:
    needs = Needs(upstream=("charges",))

    def init(self, key, graph: Graph, upstream: AtomOutputs):
        return {}

    def apply(self, params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        return AtomOutputs(energy=upstream.charges)


def test_a_term_that_is_in_no_table_says_what_to_do():
    with pytest.raises(ConfigError, match="add one line to MODELS or TERMS"):
        _ = Potential(terms=(WantsCharges(),), species=SPECIES).names


def test_a_term_that_needs_charges_says_which_term_is_missing(monkeypatch):
    monkeypatch.setattr(Potential, "names", ("wants_charges",))
    with pytest.raises(MissingInputError, match="Put a term that predicts charges before it"):
        predict(Potential(terms=(WantsCharges(),), species=SPECIES), {"wants_charges": {}}, systems.water())


@pytest.mark.parametrize(
    ("structure", "error", "message"),
    [
        (systems.single_atom(18), UnknownSpeciesError, "knows H, O, Si, but the structure holds Ar"),
        (transformations.translated(systems.water(), np.array([np.inf, 0, 0])), StructureError, "infinite"),
        (dataclasses.replace(systems.water(), pbc=np.ones(3, dtype=bool)), StructureError, "need lattice vectors"),
        (systems.dimer(0.0), StructureError, "at one place"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(structure, error, message):
    with pytest.raises(error, match=message):
        predict(POTENTIAL, PARAMS, structure)


def test_one_atom_has_its_reference_energy_and_no_forces(x64):
    result = predict(POTENTIAL, PARAMS, systems.single_atom(8))
    assert result.energy.tolist() == [-432.0] and not result.forces.any()


def test_float32_follows_the_positions():
    result = predict(POTENTIAL, PARAMS, systems.water())
    assert {v.dtype for v in (result.energy, result.energies, result.forces, result.stress)} == {np.dtype("float32")}


def test_every_matrix_product_runs_at_full_precision():
    """No dot_general of energy, forces or stress may be left to the device's default (TF32, bfloat16)."""
    from jorbit.models.linear_ace import LinearACE
    from jorbit.potential.derivatives import energy_and_derivatives

    model = LinearACE.tiny(2)
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([1, 8]))
    water = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]]), numbers=np.array([8, 1, 1]))
    graph = potential.graph(water)
    params = potential.init(jax.random.key(0), graph)
    text = str(jax.make_jaxpr(lambda p, g: energy_and_derivatives(potential, p, g))(params, graph))
    products = text.count("dot_general[")
    assert products > 10
    assert text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") + text.count("precision=HIGHEST") == products
