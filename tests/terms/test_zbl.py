"""ZBL against LAMMPS, its closed form, and its own promise: repulsive and smooth everywhere."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.screened_coulomb import zbl_energy
from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.potential import Potential, predict
from jorbit.terms.zbl import ZBL

pytestmark = pytest.mark.usefixtures("x64")
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_zbl.json").read_text())


def pair(z_i: int, z_j: int, distance: float) -> Structure:
    return Structure(positions=np.array([[0.0, 0, 0], [0, 0, distance]]), numbers=np.array([z_i, z_j]))


def test_energies_and_forces_are_those_of_lammps():
    rows = GOLDEN["pairs"]
    z_i, z_j = (jnp.array([row["numbers"][k] for row in rows])[:, None] for k in (0, 1))
    r = jnp.array(GOLDEN["distances"])[None] * jnp.ones((len(rows), 1))
    energies = zbl_energy(r, z_i, z_j)
    slopes = jax.grad(lambda r: zbl_energy(r, z_i, z_j).sum())(r)
    wanted = np.array([row["energies"] for row in rows])
    # LAMMPS' e^2 / (4 pi eps0) is 14.399645 eV Å, ours that of CODATA 2018: 6e-9 apart.
    np.testing.assert_allclose(-slopes, [row["forces"] for row in rows], rtol=1e-7)
    np.testing.assert_allclose(energies - energies[:, -1:], wanted - wanted[:, -1:], rtol=1e-7)


def test_two_silicon_atoms_by_hand():
    # a = 0.4685 / (2 * 14^0.23) = 0.127666 Å; x = 1 / a; phi(x) from the four exponentials.
    x = 2 * 14**0.23 / 0.4685
    phi = 0.02817 * np.exp(-0.20162 * x) + 0.28022 * np.exp(-0.4029 * x) + 0.50986 * np.exp(-0.94229 * x)
    phi += 0.18175 * np.exp(-3.1998 * x)
    got = float(zbl_energy(jnp.array(1.0), jnp.array(14), jnp.array(14)))
    assert got == pytest.approx(14.399645 * 14 * 14 * phi, rel=1e-6)


def test_pairs_repel_from_a_tenth_of_an_angstrom_to_their_own_cutoff():
    table = {(1, 1): 0.62, (6, 1): 1.07, (8, 14): 1.77, (55, 82): 3.0}  # sums of covalent radii, and the cutoff
    potential = Potential(terms=(ZBL(cutoff=3.0),), species=SpeciesTable.from_numbers({1, 6, 8, 14, 55, 82}))
    places = [np.append(np.linspace(0.1, 0.98 * c, 12), [c - 1e-4, c, c + 1e-4]) for c in table.values()]
    dimers = [pair(*z, d) for z, distances in zip(table, places, strict=True) for d in distances]
    result = predict(potential, {"zbl": {}}, potential.graph(dimers))
    forces = result.forces[1 : 2 * len(dimers) : 2, 2].reshape(len(table), -1)
    energies = result.energy[: len(dimers)].reshape(len(table), -1)
    assert (forces[:, :12] > 0).all() and (np.diff(forces[:, :12]) < 0).all()
    # The polynomial leaves as (1 - x)^3: energy and force are gone 1e-4 Å before the end, and exactly at it.
    assert (np.abs(forces[:, 12]) < 1e-4 * forces[:, 11]).all() and not energies[:, 13:].any()


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        ZBL(cutoff=-1.0)
