"""Sums with long-range terms in jax-md (NVE, NPT, stress), in ASE, and trained from one YAML file."""

import dataclasses
import json

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from jax_md import quantity, simulate, space

import jorbit
from jorbit.core.errors import StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.units import FS
from jorbit.graphs.ase_atoms import from_ase
from jorbit.potential import Potential
from jorbit.terms.ewald import Ewald
from jorbit.terms.fixed_charges import FixedCharges
from jorbit.terms.zbl import ZBL
from jorbit.train.run import train

pytestmark = pytest.mark.usefixtures("x64")
KELVIN = 8.617333262e-5
CHARGES = {"Na": 1.0, "Cl": -1.0}


def salt() -> tuple[Potential, dict]:
    terms = (ZBL(cutoff=4.0, scale=1.7), FixedCharges(2, CHARGES), Ewald(cutoff=5.0, accuracy=1e-8, max_length=7.0))
    potential = Potential(terms=terms, species=SpeciesTable.from_numbers([11, 17]))
    return potential, {"zbl": {}, "fixed_charges": {"shifts": np.zeros(2)}, "ewald": {}}


def rock_salt() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.08, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.array([[0, 0.05, 0], [0, 0, 0.04], [0.03, 0, 0]])), True)
    return atoms


def test_a_box_that_sums_do_not_reach_is_refused_before_the_simulation():
    potential, params = salt()
    displacement, _ = space.periodic(30.0)
    with pytest.raises(StructureError, match="max_length"):
        jorbit.to_jax_md(potential, params, displacement, 30.0, numbers=np.array([11, 17]))


@pytest.mark.slow
def test_jax_md_and_ase_get_the_numbers_of_predict_and_keep_the_energy():
    potential, params = salt()
    atoms = rock_salt()
    box = jnp.asarray(atoms.cell.array.T)
    displacement, shift = space.periodic_general(box, fractional_coordinates=True)
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
    position = jnp.asarray(atoms.get_scaled_positions(wrap=False))
    neighbors = neighbor_fn.allocate(position, box=box)
    wanted = jorbit.predict(potential, params, from_ase(atoms))
    stress = jax.jit(lambda r, n: quantity.stress(energy_fn, r, box, neighbor=n))(position, neighbors)
    np.testing.assert_allclose(stress, -wanted.stress[0], atol=1e-9)  # the perturbation deforms waves, too
    atoms.calc = jorbit.Calculator((potential, params))
    assert atoms.get_potential_energy() == pytest.approx(float(wanted.energy[0]), abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), wanted.forces, atol=1e-9)

    kT = 100 * KELVIN
    options = dict(barostat_kwargs=dict(tau=200 * FS))
    init_fn, apply_fn = simulate.npt_nose_hoover(energy_fn, shift, 1.0 * FS, 0.0, kT, **options)
    state = init_fn(jax.random.key(0), position, box=box, mass=29.0, neighbor=neighbors)

    def step(carry, _):
        state, neighbors = carry
        neighbors = neighbors.update(state.position, box=simulate.npt_box(state))
        state = apply_fn(state, neighbor=neighbors, kT=kT)
        return (state, neighbors), jnp.linalg.det(simulate.npt_box(state))

    (state, neighbors), volume = jax.jit(lambda c: jax.lax.scan(step, c, None, length=40))((state, neighbors))
    assert not neighbors.did_buffer_overflow
    assert abs(float(volume[-1] - volume[0])) > 1e-3 * float(volume[0])  # the box moved

    init_nve, apply_nve = simulate.nve(energy_fn, shift, 1.0 * FS)
    still = init_nve(jax.random.key(0), position, kT=2 * kT, mass=29.0, neighbor=neighbors)

    def step_nve(state, _):
        state = apply_nve(state, neighbor=neighbors)
        kinetic = simulate.kinetic_energy(state)
        return state, (kinetic, kinetic + energy_fn(state.position, neighbor=neighbors.update(state.position, box=box)))

    _, (kinetic, total) = jax.jit(lambda s: jax.lax.scan(step_nve, s, None, length=60))(still)
    # Velocity Verlet's energy oscillates with the square of the step, the kinetic energy by itself.
    assert np.ptp(np.asarray(total)) < 0.02 * np.ptp(np.asarray(kinetic))

    final = dataclasses.replace(from_ase(atoms), cell=np.asarray(simulate.npt_box(state)).T)
    final = dataclasses.replace(final, positions=np.asarray(state.position) @ final.cell)
    energy = energy_fn(state.position, neighbor=neighbors, box=simulate.npt_box(state))
    assert float(energy) == pytest.approx(float(jorbit.predict(potential, params, final).energy[0]), abs=1e-8)


@pytest.mark.slow
def test_one_file_trains_a_local_model_on_what_several_physics_terms_leave(tmp_path):
    # The truth is a short-range potential and point charges: with the charges given, what is left is short-range.
    potential, params = salt()
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        atoms = rock_salt()
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        s = from_ase(atoms)
        p = jorbit.predict(potential, params, s)
        atoms.calc = SinglePointCalculator(atoms, energy=float(p.energy[0]), forces=np.asarray(p.forces))
        frames.append(atoms)
    path = tmp_path / "salt.extxyz"
    ase.io.write(path, frames)
    local = {"name": "linear_ace", "cutoff": 4.0, "max_degree": [8], "l_max": 0}
    charges = [{"name": "fixed_charges", "charges": CHARGES}, {"name": "ewald", "cutoff": 5.0, "max_length": 7.0}]
    errors = {}
    for name, terms in (("short", []), ("long", charges)):
        output = tmp_path / f"{name}.safetensors"
        config = {
            "data": {"train": str(path), "test": 0.2},
            "potential": [{"name": "reference_energy"}, {"name": "repulsion"}, *terms, local],
            "output": str(output),
        }
        errors[name] = train(config).metrics["test"].force_rmse
        assert json.loads(output.with_suffix(".metrics.json").read_text())["test"]["force_rmse"] == errors[name]
    assert errors["long"] < 0.5 * errors["short"]
