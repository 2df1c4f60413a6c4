"""Ewald sums against Madelung constants, torch-pme, brute force, and themselves with another splitting."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.electrostatics import BACKGROUNDS, Splitting, charge_flag, surroundings
from jorbit.core.errors import MissingInputError, StructureError
from jorbit.core.graph import Graph
from jorbit.core.ops import neutralized
from jorbit.core.outputs import Prediction
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB
from jorbit.graphs.batching import unbatch
from jorbit.potential import Potential, predict
from jorbit.terms.ewald import Ewald
from jorbit.terms.fixed_charges import FixedCharges

pytestmark = pytest.mark.usefixtures("x64")
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_ewald.json").read_text())["cases"]
FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])  # over a
# Lattice, positions over a, charges, nearest distance over a, and M of E = -M e^2 / d for each formula unit.
# Literature values; the first digits stand in Kittel, Introduction to Solid State Physics (1.747565, 1.762675, 1.6381).
CRYSTALS = {
    "NaCl": (FCC, [[0, 0, 0], [0.5] * 3], [1, -1], 0.5, 1.7475645946331822),
    "CsCl": (np.eye(3), [[0, 0, 0], [0.5] * 3], [1, -1], np.sqrt(3) / 2, 1.7626747730709883),
    "ZnS": (FCC, [[0, 0, 0], [0.25] * 3], [1, -1], np.sqrt(3) / 4, 1.6380550533889),
    "CaF2": (FCC, [[0, 0, 0], [0.25] * 3, [0.75] * 3], [2, -1, -1], np.sqrt(3) / 4, 5.0387848797),
}


def crystal(name: str, a: float = 5.0) -> tuple[Structure, list[float]]:
    cell, fractional, charges, *_ = CRYSTALS[name]
    cell = a * np.array(cell)
    positions = a * np.array(fractional, dtype=float)
    return Structure(positions=positions, numbers=np.ones(len(charges), int), cell=cell, pbc=np.ones(3, bool)), charges


def golden(name: str) -> tuple[Structure, list[float]]:
    case = GOLDEN[name]
    charges = case["charges"]
    positions, cell, pbc = (np.array(case[k]) for k in ("positions", "cell", "pbc"))
    numbers, charge = np.ones(len(charges), int), float(sum(charges))
    return Structure(positions=positions, numbers=numbers, cell=cell, pbc=pbc, charge=charge), charges


def molecule() -> tuple[Structure, list[float]]:
    structure, charges = golden("water")
    return Structure(positions=structure.positions[:6], numbers=structure.numbers[:6]), charges[:6]


def samples() -> dict[str, tuple[Structure, list[float]]]:
    """All in one batch: bulk, slabs and open space beside each other."""
    result = {name: crystal(name) for name in CRYSTALS} | {name: golden(name) for name in GOLDEN}
    loose, charges = molecule()
    boxed = dataclasses.replace(loose, cell=20.0 * np.eye(3), pbc=np.ones(3, bool))
    slab, of_slab = golden("slab")
    other = dataclasses.replace(slab, cell=np.array([*slab.cell[:2], [1.0, 2.0, 9.0]]))
    return result | {
        "molecule": (loose, charges),
        "molecule in an unused cell": (dataclasses.replace(loose, cell=4.0 * np.eye(3)), charges),
        "molecule in a box": (boxed, charges),
        "slab without a third vector": (dataclasses.replace(slab, cell=slab.cell * [[1], [1], [0]]), of_slab),
        "slab with a skew vector": (other, of_slab),
    }


def electrostatics(cases: dict[str, tuple[Structure, list[float]]], **options) -> tuple[Potential, dict, dict]:
    """Potential, parameters, and the structures with a made-up element for each charge that occurs."""
    values = sorted({q for _, charges in cases.values() for q in charges})
    table = {SYMBOLS[1 + k]: q for k, q in enumerate(values)}
    named = {
        name: dataclasses.replace(s, numbers=np.array([1 + values.index(q) for q in charges]))
        for name, (s, charges) in cases.items()
    }
    terms = (FixedCharges(n_species=len(table), charges=table), Ewald(**options))
    potential = Potential(terms=terms, species=SpeciesTable.from_numbers(range(1, 1 + len(table))))
    return potential, {"fixed_charges": {"shifts": np.zeros(len(table))}, "ewald": {}}, named


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[Structure, list[float], Prediction]]:
    """Everything at once: one compilation."""
    with jax.enable_x64(True):
        cases = samples()
        options = dict(cutoff=5.0, accuracy=1e-10, max_length=20.0, background="uniform")
        potential, params, structures = electrostatics(cases, **options)
        results = unbatch(
            predict(potential, params, potential.graph(list(structures.values()))), [*structures.values()]
        )
    return {name: (*case, result) for (name, case), result in zip(cases.items(), results, strict=True)}


@pytest.mark.parametrize("name", CRYSTALS)
def test_madelung_constants(name: str, computed: dict):
    *_, distance, constant = CRYSTALS[name]
    assert -computed[name][-1].energy[0] * distance * 5.0 / COULOMB == pytest.approx(constant, abs=1e-8)


@pytest.mark.parametrize("name", GOLDEN)
def test_energies_and_forces_are_those_of_torch_pme(name: str, computed: dict):
    found, wanted = computed[name][-1], np.array(GOLDEN[name]["forces"])
    assert found.energy[0] / COULOMB == pytest.approx(GOLDEN[name]["energy"], rel=1e-6)
    np.testing.assert_allclose(found.forces / COULOMB, wanted, atol=1e-6 * np.abs(wanted).max())


def test_neither_energy_nor_stress_depends_on_the_splitting(computed: dict):
    names = ("triclinic salt", "charged", "water")
    cases = {name: samples()[name] for name in names}
    options = dict(cutoff=3.7, accuracy=1e-10, max_length=7.0, background="uniform")
    potential, params, structures = electrostatics(cases, **options)
    result = predict(potential, params, potential.graph(list(structures.values())))
    others = unbatch(result, list(structures.values()))
    for name, other in zip(names, others, strict=True):
        structure, _, one = computed[name]
        np.testing.assert_allclose(other.energies, one.energies, atol=1e-9)
        np.testing.assert_allclose(other.stress, one.stress, atol=1e-10)
        # A Coulomb energy scales as 1 / length, so the trace of the virial is minus the energy.
        assert np.trace(one.stress[0]) * structure.volume == pytest.approx(-one.energy[0], rel=1e-9)


def test_a_molecule_is_the_sum_of_its_pairs_and_a_large_box_comes_close(computed: dict):
    loose, charges, alone = computed["molecule"]
    upper = np.triu_indices(6, 1)
    r = np.linalg.norm(loose.positions[:, None] - loose.positions[None], axis=-1)[upper]
    pairs = COULOMB * (np.outer(charges, charges)[upper] / r).sum()
    assert alone.energy[0] == pytest.approx(pairs, abs=1e-10)
    assert computed["molecule in an unused cell"][-1].energy[0] == pytest.approx(pairs, abs=1e-10)
    # In a cube, dipoles and their images share -2 pi / 3 V of the squared dipole; the rest falls off faster than 1/V.
    dipole = np.array(charges) @ loose.positions
    images = -2 * np.pi / (3 * 20.0**3) * COULOMB * dipole @ dipole
    assert computed["molecule in a box"][-1].energy[0] == pytest.approx(pairs + images, abs=0.1 * abs(images))


def test_an_atom_at_the_origin_where_padding_lies_has_forces():
    """Two unit charges: Coulomb's law, 14.3996 eV Å / d^2."""
    charges = FixedCharges(n_species=2, charges={"Na": 1.0, "Cl": -1.0})
    potential = Potential((charges, Ewald(cutoff=5.0, max_length=12.0)), SpeciesTable.from_numbers([11, 17]))
    pair = Structure(positions=np.array([[0.0, 0, 0], [2.0, 0, 0]]), numbers=np.array([11, 17]))
    with jax.enable_x64(True):
        found = predict(potential, {"fixed_charges": {"shifts": np.zeros(2)}, "ewald": {}}, pair)
    expected = 14.3996454785 / 4 * np.array([[1.0, 0, 0], [-1, 0, 0]])
    np.testing.assert_allclose(found.forces, expected, rtol=1e-8, atol=1e-12)


def test_empty_space_beside_a_slab_does_not_matter(computed: dict):
    wanted = computed["slab"][-1]
    for name in ("slab without a third vector", "slab with a skew vector"):
        np.testing.assert_allclose(computed[name][-1].forces, wanted.forces, atol=1e-11)


def test_what_cannot_be_summed_is_refused_with_advice():
    case = {"NaCl": crystal("NaCl")}
    potential, params, structures = electrostatics(case, cutoff=4.0, accuracy=1e-6, max_length=4.0)
    salt = structures["NaCl"]
    with pytest.raises(StructureError, match=r"max_length=\d+ or more"):
        predict(potential, params, dataclasses.replace(salt, cell=2 * salt.cell))
    with pytest.raises(StructureError, match="background='uniform'"):
        predict(potential, params, dataclasses.replace(salt, charge=1.0))
    with pytest.raises(StructureError, match="repeats in one direction"):
        predict(potential, params, dataclasses.replace(salt, pbc=np.array([True, False, False])))
    with pytest.raises(MissingInputError, match="charges"):
        alone = Potential(terms=potential.terms[1:], species=potential.species)
        predict(alone, {"ewald": {}}, salt)
    # Inside compiled code nothing can raise: the energy is NaN.
    graph = potential.graph(salt)
    longer = graph.replace(cell=1.5 * graph.cell, positions=1.5 * graph.positions)
    assert np.isnan(predict(potential, params, longer).energy[0])


def test_rounding_of_many_charges_is_not_a_charge():
    n = 30_000
    sign = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    charges = jnp.asarray(0.8 * sign + np.random.default_rng(0).normal(0.0, 0.05, n), jnp.float32)
    graph = Graph(
        positions=jnp.zeros((n, 3), jnp.float32),
        numbers=jnp.ones(n, jnp.int32),
        species=jnp.zeros(n, jnp.int32),
        owner=jnp.zeros(n, jnp.int32),
        cell=60.0 * jnp.eye(3, dtype=jnp.float32)[None],
        charge=jnp.zeros(1, jnp.float32),
        neighborhoods=(),
        atom_mask=jnp.ones(n, bool),
        structure_mask=jnp.ones(1, bool),
    )
    where = surroundings(graph, Splitting(cutoff=6.0, accuracy=1e-4, max_length=70.0))
    neutral = neutralized(charges, graph)
    assert np.all(charge_flag(graph, neutral, where, BACKGROUNDS[0]) == 1.0)
    assert np.all(
        np.isnan(charge_flag(graph, neutral + 0.5 / n, where, BACKGROUNDS[0]))
    )  # half an elementary charge in all
