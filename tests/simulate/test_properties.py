"""Vibrations, phonons, elastic constants, equations of state, vacancies and paths against closed forms and ASE."""

import dataclasses

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.vibrations import Vibrations as VibrationsOfASE
from simulated_systems import argon_crystal, structure_of

import jorbit
from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, GPA
from jorbit.potential import Potential
from jorbit.simulate import relax
from jorbit.simulate.defects import nudged_elastic_band, vacancy
from jorbit.simulate.elasticity import elastic_constants
from jorbit.simulate.equation_of_state import equation_of_state, fit_birch_murnaghan
from jorbit.simulate.phonons import phonons
from jorbit.simulate.vibrations import TO_WAVE_NUMBERS, vibrations
from jorbit.terms.lennard_jones import LennardJones

EPSILON, SIGMA = 0.0103408, 3.4
# Lattice sums of fcc; Kittel, Introduction to Solid State Physics, chapter 3.
A12, A6 = 12.13188, 14.45392


def argon_with(cutoff: float, onset: float) -> tuple[Potential, dict]:
    term = LennardJones(EPSILON, SIGMA, cutoff, onset)
    return Potential((term,), SpeciesTable.from_numbers([18])), {"lennard_jones": {}}


SHORT = argon_with(6.0, 4.5)


@pytest.fixture(scope="module")
def hexagonal() -> Structure:
    """Relaxed hcp argon: two atoms that move when the cell is strained."""
    return relax(*SHORT, structure_of(bulk("Ar", "hcp", a=3.76, c=6.14)), relax_cell=True, max_force=1e-6).structure


def test_argon_has_the_bulk_modulus_and_energy_of_the_infinite_lattice_sums():
    # r0 = sigma (2 A12 / A6)^(1/6), E = -eps A6^2 / (2 A12), B = 4 sqrt(2) eps A6^2 / (A12 r0^3).
    r0 = SIGMA * (2 * A12 / A6) ** (1 / 6)
    primitive = structure_of(bulk("Ar", "fcc", a=np.sqrt(2) * 1.005 * r0))
    found = equation_of_state(*argon_with(30.0, 28.0), primitive, span=0.05)
    # Beyond 28 Å the attraction is left out: 16 pi eps rho sigma^3 (sigma / r)^3 / 6 = 0.15 % of the energy.
    assert found.energy == pytest.approx(-EPSILON * A6**2 / (2 * A12), rel=3e-3)
    assert np.cbrt(np.sqrt(2) * found.volume) == pytest.approx(r0, rel=5e-4)
    assert found.bulk_modulus == pytest.approx(4 * np.sqrt(2) * EPSILON * A6**2 / (A12 * r0**3), rel=6e-3)
    assert found.scale == pytest.approx(1 / 1.005, rel=1e-3)


def test_the_fit_gives_back_the_equation_it_fits():
    v, volume, bulk_modulus, slope = np.linspace(35, 45, 9), 40.3, 0.6, 4.7
    x = (volume / v) ** (2 / 3) - 1
    energies = -5.0 + 9 / 8 * volume * bulk_modulus * x**2 * (1 + 0.5 * (slope - 4) * x)
    found = fit_birch_murnaghan(v, energies, 40.0)
    assert found.volume == pytest.approx(volume, rel=1e-9) and found.energy == pytest.approx(-5.0, abs=1e-10)
    assert found.bulk_modulus == pytest.approx(bulk_modulus, rel=1e-7)
    assert found.bulk_modulus_slope == pytest.approx(slope, rel=1e-6)
    np.testing.assert_allclose(found.curve(v), energies, atol=1e-9)
    with pytest.raises(SimulationError, match="no minimum"):
        fit_birch_murnaghan(v, -v, 40.0)


@pytest.mark.slow
def test_elastic_constants_are_the_slopes_of_ases_relaxed_stress(hexagonal):
    found = elastic_constants(*SHORT, hexagonal)
    step = 2e-4
    for k, strain in ((0, np.diag([1.0, 0, 0])), (5, np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]))):
        stresses = []
        for sign in (1, -1):
            atoms = ase.Atoms("Ar2", hexagonal.positions, cell=hexagonal.cell, pbc=True)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * strain), scale_atoms=True)
            strained = relax(*SHORT, structure_of(atoms), max_force=1e-9)
            s = strained.stress
            stresses.append(np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]]))
        slope = (stresses[0] - stresses[1]) / (2 * step)
        np.testing.assert_allclose(slope, found.constants[k], atol=2e-4 * found.constants.max())
    assert found.clamped[0, 0] > 1.005 * found.constants[0, 0]  # the atoms do move
    assert found.is_stable
    # Hexagonal: C66 = (C11 - C12) / 2, and xx = yy.
    c = found.constants
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2, rel=1e-5) and c[0, 0] == pytest.approx(c[1, 1], rel=1e-5)


@pytest.mark.slow
def test_pair_forces_obey_cauchy_and_both_ways_to_the_bulk_modulus_agree():
    start = structure_of(bulk("Ar", "fcc", a=5.25))
    crystal = relax(*SHORT, start, relax_cell=True, max_force=1e-6).structure
    found = elastic_constants(*SHORT, crystal)
    assert found.constants[0, 1] == pytest.approx(found.constants[3, 3], rel=1e-4)
    curve = equation_of_state(*SHORT, crystal, span=0.02, n_points=7)
    assert found.bulk_modulus == pytest.approx(curve.bulk_modulus, rel=5e-3)
    assert 0 < found.poisson_ratio < 0.5 and found.young_modulus > found.shear_modulus
    # Cubic: 1 / E(n) = S11 - 2 (S11 - S12 - S44 / 2) (l^2 m^2 + m^2 n^2 + n^2 l^2).
    s = np.linalg.inv(found.constants)
    n = np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [3, 1, -2]])
    u = n / np.linalg.norm(n, axis=1, keepdims=True)
    mixed = (u[:, 0] * u[:, 1]) ** 2 + (u[:, 1] * u[:, 2]) ** 2 + (u[:, 2] * u[:, 0]) ** 2
    expected = 1 / (s[0, 0] - 2 * (s[0, 0] - s[0, 1] - s[3, 3] / 2) * mixed)
    np.testing.assert_allclose(found.young_along(n), expected, rtol=1e-4)
    squeezed = dataclasses.replace(crystal, cell=0.9 * crystal.cell, positions=0.9 * crystal.positions)
    with pytest.raises(SimulationError, match="GPa is left"):
        elastic_constants(*SHORT, squeezed)


def test_a_dimer_vibrates_at_its_closed_form_and_a_cluster_as_in_ase(tmp_path):
    distance = 2 ** (1 / 6) * SIGMA
    far = argon_with(20.0, 18.0)
    dimer = Structure(positions=np.array([[0.0, 0, 0], [0, 0, distance]]), numbers=np.array([18, 18]))
    # V'' = 72 eps / r^2 at the minimum; half the mass moves.
    expected = np.sqrt(72 * EPSILON / distance**2 / (39.948 / 2)) * TO_WAVE_NUMBERS
    found = vibrations(*far, dimer)
    assert found.vibrations == pytest.approx([expected], rel=1e-6) and found.n_free == 5
    atoms = ase.Atoms("Ar4", distance / np.sqrt(2) * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    atoms.calc = jorbit.Calculator(far)
    other = VibrationsOfASE(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    other.run()
    mine = vibrations(*far, structure_of(atoms))
    np.testing.assert_allclose(mine.vibrations, np.sort(other.get_frequencies().real)[-6:], rtol=1e-4)
    assert mine.zero_point_energy == pytest.approx(other.get_vibrations().get_zero_point_energy(), rel=1e-4)
    # One oscillator: F = hw/2 + kT ln(1 - exp(-hw/kT)); hot, kT ln(hw/kT).
    quantum = expected * 1.239841984e-4
    assert found.free_energy(3000.0) == pytest.approx(3000 * BOLTZMANN * np.log(quantum / (3000 * BOLTZMANN)), rel=1e-4)
    stretched = dataclasses.replace(dimer, positions=1.3 * dimer.positions)
    with pytest.raises(SimulationError, match="not a minimum"):
        _ = vibrations(*far, stretched).zero_point_energy


def test_phonons_at_the_points_of_a_supercell_are_its_vibrations(hexagonal):
    result = phonons(*SHORT, hexagonal, repeats=(3, 3, 2))
    points = np.array([[i / 3, j / 3, k / 2] for i in range(3) for j in range(3) for k in range(2)])
    whole = ase.Atoms("Ar2", hexagonal.positions, cell=hexagonal.cell, pbc=True) * (3, 3, 2)
    expected = vibrations(*SHORT, structure_of(whole)).wave_numbers
    found = np.sort(result.frequencies(points).ravel()) * 33.35640952
    np.testing.assert_allclose(found, expected, atol=0.02)  # 1/cm; roots of zeros are noise
    bands = result.bands("GAM", 20)
    assert bands.frequencies.shape == (20, 6) and bands.labels[0] == (0.0, "G")
    np.testing.assert_allclose(bands.frequencies[0, :3], 0.0, atol=1e-3)
    # The path G (0, 0, 0), A (0, 0, 1/2), M (1/2, 0, 0) in 1/Å; its special points stand where the path turns.
    corners = np.array([[0, 0, 0], [0, 0, 0.5], [0.5, 0, 0]]) @ (2 * np.pi * np.linalg.inv(hexagonal.cell).T)
    along = np.cumsum([0, *np.linalg.norm(np.diff(corners, axis=0), axis=1)])
    assert bands.distances[-1] == pytest.approx(along[-1], rel=1e-9)
    assert [name for _, name in bands.labels] == ["G", "A", "M"]
    np.testing.assert_allclose([at for at, _ in bands.labels], along, rtol=1e-9)
    frequencies, states = result.density_of_states(6)
    assert np.trapezoid(states, frequencies) == pytest.approx(6.0, rel=1e-3)
    assert result.heat_capacity(2000.0, 6) == pytest.approx(6 * BOLTZMANN, rel=1e-3)  # Dulong and Petit
    assert result.heat_capacity(0.0, 6) == 0.0
    with pytest.raises(ConfigError, match="0 K or more"):
        result.heat_capacity(-1.0)


def test_phonons_do_not_depend_on_the_cell_that_an_atom_is_said_to_be_in(hexagonal):
    far = np.array(hexagonal.positions)
    far[1] += np.array([7, -9, 4]) @ hexagonal.cell
    q = np.array([[0.21, 0.33, 0.07], [0.5, 0.0, 0.5]])
    found = [
        phonons(*SHORT, dataclasses.replace(hexagonal, positions=r), repeats=(2, 2, 1)).frequencies(q)
        for r in (hexagonal.positions, far)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


@pytest.mark.slow
def test_a_vacancy_and_its_hop():
    crystal = structure_of(argon_crystal(rattle=0.0))
    crystal = relax(*SHORT, crystal, relax_cell=True, max_force=1e-5).structure
    hole = vacancy(*SHORT, crystal, atom=0, max_force=1e-4)
    bare = ase.Atoms("Ar32", crystal.positions, cell=crystal.cell, pbc=True)
    bare.calc = jorbit.Calculator(SHORT)
    whole = bare.get_potential_energy()
    del bare[0]
    assert hole.unrelaxed == pytest.approx(bare.get_potential_energy() - 31 / 32 * whole, abs=1e-8)
    assert 0 < hole.formation_energy < hole.unrelaxed and hole.converged
    # A neighbour hops into the hole: the barrier is the same from both sides.
    distances = np.linalg.norm(crystal.positions - crystal.positions[0], axis=1)
    neighbor = int(np.argsort(distances)[1])
    filled = np.array(hole.structure.positions)
    filled[neighbor - 1] = crystal.positions[0]
    end = relax(*SHORT, dataclasses.replace(hole.structure, positions=filled), max_force=1e-4).structure
    path = nudged_elastic_band(*SHORT, hole.structure, end, n_images=5, max_force=0.005)
    assert path.converged and path.energies[0] == pytest.approx(path.energies[-1], abs=1e-4)
    assert path.barrier > 0.02 and np.argmax(path.energies) == 2
    saddle = jorbit.predict(*SHORT, path.images[2]).forces
    assert np.linalg.norm(saddle, axis=1).max() < 0.01
    with pytest.raises(ConfigError, match="same atoms"):
        nudged_elastic_band(*SHORT, hole.structure, crystal)


def test_a_vacancy_takes_the_orbit_of_its_atom_along():
    crystal = structure_of(argon_crystal(repeats=(1, 1, 1), rattle=0.0))
    labelled = dataclasses.replace(crystal, orbits=np.zeros(4, int))
    found = [vacancy(*SHORT, s, atom=3).formation_energy for s in (crystal, labelled)]
    assert found[0] == found[1]
    for atom in (4, -5):
        with pytest.raises(ConfigError, match="atom from 0 to 3"):
            vacancy(*SHORT, crystal, atom=atom)


def test_a_path_across_the_edge_of_a_slab_is_the_short_one():
    cell, pbc = np.diag([12.0, 12.0, 20.0]), np.array([True, True, False])
    ends = [
        Structure(positions=np.array([[6.0, 6, 5], [x, 6, 8.8]]), numbers=np.array([18, 18]), cell=cell, pbc=pbc)
        for x in (0.4, 11.6)
    ]
    path = nudged_elastic_band(*SHORT, *ends, n_images=3, max_steps=0)
    middle = path.images[1].positions[1, 0]
    assert abs(middle - 12.0 * np.round(middle / 12.0)) < 0.3


@pytest.mark.slow
def test_an_equation_of_state_of_atoms_that_find_no_rest_is_no_result(hexagonal):
    moved = dataclasses.replace(hexagonal, positions=hexagonal.positions + np.array([[0.0, 0, 0], [0.05, 0.02, 0.03]]))
    with pytest.raises(SimulationError, match="not relaxed after 500 steps"):
        equation_of_state(*SHORT, moved, n_points=5, max_force=1e-30)


def test_what_is_not_a_crystal_is_refused():
    pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 3.8]]), numbers=np.array([18, 18]))
    for compute in (elastic_constants, phonons, equation_of_state, vacancy):
        with pytest.raises(ConfigError):
            compute(*SHORT, pair)
    assert GPA == pytest.approx(ase.units.GPa, rel=1e-7)
