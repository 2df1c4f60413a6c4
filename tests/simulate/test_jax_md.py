"""jax-md runs a potential unchanged, and gets the numbers that ASE and predict() get."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import minimize, partition, quantity, simulate, space
from simulated_systems import (
    KELVIN,
    SAME_BITS,
    SYSTEMS,
    argon,
    argon_crystal,
    columns,
    magnesia,
    random_ace,
    structure_of,
    triclinic_argon,
)

import jorbit
from jorbit.core.errors import ConfigError, MissingInputError, StructureError, UnknownSpeciesError
from jorbit.core.units import FS
from jorbit.simulate import relax

MASS = 39.95
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def crystal():
    """The triclinic argon crystal in Cartesian coordinates, with compiled energy and force functions."""
    with jax.enable_x64(True):
        potential, params = argon()
        atoms = triclinic_argon()
        box = columns(atoms)
        displacement, shift = space.periodic_general(box, fractional_coordinates=False)
        neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
        yield dict(
            atoms=atoms,
            shift=shift,
            neighbor_fn=neighbor_fn,
            energy_fn=energy_fn,
            energy=jax.jit(energy_fn),
            prediction=jorbit.predict(potential, params, structure_of(atoms)),
            neighbors=neighbor_fn.allocate(jnp.asarray(atoms.positions)),
        )


@pytest.mark.parametrize("fractional", [False, True])
@pytest.mark.parametrize("system", SYSTEMS)
def test_energy_forces_and_stress_are_those_of_predict_in_a_triclinic_cell(system: str, fractional: bool):
    make_potential, make_atoms = SYSTEMS[system]
    (potential, params), atoms = make_potential(), make_atoms()
    box = columns(atoms)
    displacement, _ = space.periodic_general(box, fractional_coordinates=fractional)
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
    position = jnp.asarray(atoms.get_scaled_positions(wrap=False) if fractional else atoms.positions)
    neighbors = neighbor_fn.allocate(position)
    expected = jorbit.predict(potential, params, structure_of(atoms))
    energy, gradient = jax.jit(jax.value_and_grad(energy_fn))(position, neighbor=neighbors)
    assert energy == pytest.approx(expected.energy[0], abs=1e-10)
    # jax-md's forces are Cartesian even when positions are fractional.
    np.testing.assert_allclose(-gradient, expected.forces, atol=1e-10)
    stress = jax.jit(lambda r, n: quantity.stress(energy_fn, r, box, neighbor=n))(position, neighbors)
    assert np.abs(expected.stress).max() > 1e-4
    np.testing.assert_allclose(stress, -expected.stress[0], atol=1e-8)


def test_boxes_may_be_scalars_vectors_or_matrices_and_boundaries_open():
    potential, params = argon()
    atoms = argon_crystal()
    length = float(atoms.cell.array[0, 0])
    free = structure_of(atoms)
    free = dataclasses.replace(free, pbc=np.zeros(3, bool), cell=np.zeros((3, 3)))
    position = jnp.asarray(atoms.positions)
    for box, (displacement, _), structure in [
        (length, space.periodic(length), structure_of(atoms)),
        (jnp.full(3, length), space.periodic(jnp.full(3, length)), structure_of(atoms)),
        (length * jnp.eye(3), space.periodic_general(length * jnp.eye(3), False), structure_of(atoms)),
        (None, space.free(), free),
    ]:
        neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
        energy = jax.jit(energy_fn)(position, neighbor=neighbor_fn.allocate(position))
        assert energy == pytest.approx(jorbit.predict(potential, params, structure).energy[0], abs=1e-10)


def test_a_slab_repeats_only_where_its_displacement_function_does():
    potential, params = argon()
    atoms = argon_crystal((2, 2, 1))
    atoms.pbc = (True, True, False)
    lengths = jnp.asarray(atoms.cell.lengths())

    def displacement(a, b, **_):
        d = a - b
        return d - jnp.array([1.0, 1.0, 0.0]) * lengths * jnp.round(d / lengths)

    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, lengths, numbers=atoms.numbers)
    assert neighbor_fn.pbc.tolist() == [True, True, False]
    position = jnp.asarray(atoms.positions)
    energy = jax.jit(energy_fn)(position, neighbor=neighbor_fn.allocate(position))
    assert float(energy) == pytest.approx(
        float(jorbit.predict(potential, params, structure_of(atoms)).energy[0]), abs=1e-10
    )


@pytest.mark.parametrize(
    ("make_potential", "make_atoms", "repeats"),
    # Cutoffs are 6 Å and 3 Å; the argon cell is 5.3 Å wide, smaller than the cutoff itself.
    [(argon, lambda: argon_crystal((1, 1, 1)), (3, 3, 3)), (random_ace, magnesia, (2, 2, 2))],
)
def test_a_cell_smaller_than_the_cutoff_has_the_energy_per_atom_of_its_supercell(make_potential, make_atoms, repeats):
    potential, params = make_potential()
    energies = []
    for atoms in (make_atoms(), make_atoms() * repeats):
        box = columns(atoms)
        displacement, _ = space.periodic_general(box, fractional_coordinates=False)
        neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
        position = jnp.asarray(atoms.positions)
        energies.append(float(jax.jit(energy_fn)(position, neighbor=neighbor_fn.allocate(position))) / len(atoms))
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


def test_atoms_outside_the_box_change_nothing(crystal: dict):
    atoms = crystal["atoms"]
    images = np.random.default_rng(0).integers(-3, 4, (len(atoms), 3))
    moved = jnp.asarray(atoms.positions + images @ atoms.cell.array)
    expected = crystal["prediction"].energy[0]
    assert crystal["energy"](moved, neighbor=crystal["neighbor_fn"].allocate(moved)) == pytest.approx(
        expected, abs=1e-9
    )
    # The old list, made before the atoms were moved by whole cells, still holds.
    assert crystal["energy"](moved, neighbor=crystal["neighbors"]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("perturbation", [1.01, np.array([[1.01, 0.02, 0.0], [0.0, 0.99, 0.01], [0.005, 0.0, 1.0]])])
def test_a_perturbation_deforms_positions_and_cell(crystal: dict, perturbation):
    potential, params = argon()
    position = jnp.asarray(crystal["atoms"].positions)
    energy = float(crystal["energy"](position, neighbor=crystal["neighbors"], perturbation=perturbation))
    # jax-md multiplies column vectors: v -> P v; ours are rows: v -> v (1 + strain).
    strain = np.broadcast_to(perturbation, (3, 3)) * (np.eye(3) if np.ndim(perturbation) == 0 else 1.0)
    atoms = crystal["atoms"].copy()
    atoms.set_cell(atoms.cell.array @ strain.T, scale_atoms=True)
    assert energy == pytest.approx(float(jorbit.predict(potential, params, structure_of(atoms)).energy[0]), abs=1e-10)


def make_steps(crystal: dict, apply_fn, observe, n_steps: int):
    """The loop of jax-md's documentation, compiled."""

    def step(carry, _):
        state, neighbors = carry
        neighbors = neighbors.update(state.position)
        state = apply_fn(state, neighbor=neighbors)
        return (state, neighbors), observe(state, neighbors)

    return jax.jit(lambda state, neighbors: jax.lax.scan(step, (state, neighbors), None, length=n_steps))


def test_nve_conserves_energy_and_its_energies_are_those_of_the_ase_calculator(crystal: dict):
    energy_fn = crystal["energy_fn"]
    init_fn, apply_fn = simulate.nve(energy_fn, crystal["shift"], 2.0 * FS)
    position = jnp.asarray(crystal["atoms"].positions)
    state = init_fn(jax.random.key(0), position, kT=80 * KELVIN, mass=MASS, neighbor=crystal["neighbors"])

    def observe(state, neighbors):
        potential = energy_fn(state.position, neighbor=neighbors.update(state.position))
        return state.position, potential, simulate.kinetic_energy(state)

    steps = make_steps(crystal, apply_fn, observe, 120)
    (_, neighbors), (positions, potential, kinetic) = steps(state, crystal["neighbors"])
    assert not neighbors.did_buffer_overflow
    total = np.asarray(potential + kinetic)
    # Velocity Verlet's energy oscillates with dt^2; kinetic energy itself changes by a hundred times more.
    assert np.ptp(total) < 0.01 * np.ptp(np.asarray(kinetic))
    atoms = crystal["atoms"].copy()
    atoms.calc = jorbit.Calculator(argon())
    for k in range(0, 120, 8):
        atoms.positions = np.asarray(positions[k])
        assert atoms.get_potential_energy() == pytest.approx(float(potential[k]), abs=1e-10)


def test_nvt_nose_hoover_keeps_its_invariant(crystal: dict):
    kT = 60 * KELVIN
    init_fn, apply_fn = simulate.nvt_nose_hoover(crystal["energy_fn"], crystal["shift"], 2.0 * FS, kT)
    position = jnp.asarray(crystal["atoms"].positions)
    state = init_fn(jax.random.key(0), position, mass=MASS, neighbor=crystal["neighbors"])

    def observe(state, neighbors):
        neighbors = neighbors.update(state.position)
        invariant = simulate.nvt_nose_hoover_invariant(crystal["energy_fn"], state, kT, neighbor=neighbors)
        return invariant, simulate.kinetic_energy(state)

    _, (invariant, kinetic) = make_steps(crystal, apply_fn, observe, 100)(state, crystal["neighbors"])
    assert np.ptp(invariant) < 0.02 * np.ptp(np.asarray(kinetic))


def test_nvt_langevin_runs_with_two_lists_in_one_process(crystal: dict):
    # jax-md's own lists hold an array in a static field, and the second one of a process raises.
    init_fn, apply_fn = simulate.nvt_langevin(crystal["energy_fn"], crystal["shift"], 2.0 * FS, 60 * KELVIN, gamma=0.5)
    position = jnp.asarray(crystal["atoms"].positions)
    steps = make_steps(crystal, apply_fn, lambda state, neighbors: simulate.temperature(state) / KELVIN, 300)
    for neighbors in (crystal["neighbors"], crystal["neighbor_fn"].allocate(position)):
        state = init_fn(jax.random.key(0), position, mass=MASS, neighbor=neighbors)
        _, temperature = steps(state, neighbors)
    # 32 atoms: a single temperature scatters by 14 %; 200 steps hold about 10 independent ones.
    assert np.mean(temperature[100:]) == pytest.approx(60.0, rel=0.25)


@pytest.mark.slow
def test_npt_nose_hoover_follows_the_box_and_relieves_the_pressure():
    potential, params = argon()
    atoms = argon_crystal(rattle=0.02)
    atoms.set_cell(0.97 * atoms.cell.array, scale_atoms=True)  # compressed: the box must grow
    box = columns(atoms)
    displacement, shift = space.periodic_general(box, fractional_coordinates=True)
    neighbor_fn, energy_fn = jorbit.to_jax_md(
        potential,
        params,
        displacement,
        box,
        numbers=atoms.numbers,
        fractional_coordinates=True,
        capacity_multiplier=1.5,
    )
    position = jnp.asarray(atoms.get_scaled_positions())
    neighbors = neighbor_fn.allocate(position, box=box)
    kT, pressure = 20 * KELVIN, 0.0
    init_fn, apply_fn = simulate.npt_nose_hoover(
        energy_fn, shift, 2.0 * FS, pressure, kT, barostat_kwargs=dict(tau=400 * FS)
    )
    state = init_fn(jax.random.key(0), position, box=box, mass=MASS, neighbor=neighbors)

    def step(carry, _):
        state, neighbors = carry
        here = simulate.npt_box(state)
        neighbors = neighbors.update(state.position, box=here)
        state = apply_fn(state, neighbor=neighbors, kT=kT)
        here = simulate.npt_box(state)
        energy = energy_fn(state.position, neighbor=neighbors, box=here, kT=kT)
        return (state, neighbors), (jnp.linalg.det(here), energy)

    (state, neighbors), (volume, energy) = jax.jit(lambda c: jax.lax.scan(step, c, None, length=300))(
        (state, neighbors)
    )
    assert not neighbors.did_buffer_overflow
    assert np.isfinite(energy).all()
    assert float(volume[-1]) > 1.02 * atoms.get_volume()
    # The energy in the box of the last step is that of the structure in it.
    final = structure_of(atoms)
    cell = np.asarray(simulate.npt_box(state)).T
    final = dataclasses.replace(final, cell=cell, positions=np.asarray(state.position) @ cell)
    assert float(energy[-1]) == pytest.approx(float(jorbit.predict(potential, params, final).energy[0]), abs=1e-9)


@pytest.mark.slow
def test_fire_finds_the_relaxed_crystal(crystal: dict):
    init_fn, apply_fn = minimize.fire_descent(crystal["energy_fn"], crystal["shift"], dt_start=2 * FS, dt_max=8 * FS)
    position = jnp.asarray(crystal["atoms"].positions)
    state = init_fn(position, mass=MASS, neighbor=crystal["neighbors"])
    steps = make_steps(crystal, apply_fn, lambda state, neighbors: jnp.abs(state.force).max(), 150)
    (state, neighbors), force = steps(state, crystal["neighbors"])
    assert not neighbors.did_buffer_overflow
    assert float(force[-1]) < 1e-3 < float(force[0])
    assert crystal["energy"](state.position, neighbor=neighbors) < crystal["prediction"].energy[0]


@pytest.mark.slow
def test_box_relaxation_finds_the_cell_of_ases():
    """Energy and volume at the minimum; the start is strained and rattled."""
    potential, params = argon()
    atoms = argon_crystal((2, 2, 2), rattle=0.05)
    atoms.set_cell(atoms.cell.array @ np.diag([1.03, 0.99, 1.01]), scale_atoms=True)
    box = columns(atoms)
    displacement, shift = space.periodic_general(box, fractional_coordinates=True)
    neighbor_fn, energy_fn = jorbit.to_jax_md(
        potential, params, displacement, box, numbers=atoms.numbers, capacity_multiplier=1.6
    )
    position = jnp.asarray(atoms.get_scaled_positions())
    neighbors = neighbor_fn.allocate(position, box=box)
    init_fn, apply_fn = minimize.fire_descent_box(energy_fn, shift, dt_start=2 * FS, dt_max=10 * FS)
    state = init_fn(position, box, mass=MASS, box_mass=jnp.asarray(MASS), neighbor=neighbors)

    def step(carry, _):
        state, neighbors = carry
        neighbors = neighbors.update(state.position, box=state.box)
        return (apply_fn(state, neighbor=neighbors), neighbors), jnp.abs(state.force).max()

    (state, neighbors), force = jax.jit(lambda c: jax.lax.scan(step, c, None, length=600))((state, neighbors))
    assert not neighbors.did_buffer_overflow and float(force[-1]) < 2e-3
    expected = relax(potential, params, structure_of(atoms), relax_cell=True, max_force=1e-4)
    volume = abs(float(jnp.linalg.det(state.box)))
    assert volume == pytest.approx(expected.structure.volume, rel=2e-3)
    energy = float(energy_fn(state.position, neighbor=neighbors.update(state.position, box=state.box), box=state.box))
    assert energy == pytest.approx(expected.energies[-1], abs=2e-3)


@pytest.mark.parametrize(
    "name",  # DimeNet's as users compile it; as other tests do, one of 24 forces differs by one part in 2^52
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "dimenet")) for name in SAME_BITS],
)
def test_energies_and_forces_are_the_same_bits_in_larger_arrays(name):
    potential, params = SAME_BITS[name][0]()
    atoms = SAME_BITS[name][1]()
    box = columns(atoms)
    displacement, _ = space.periodic_general(box, fractional_coordinates=False)
    neighbor_fn, energy_fn = jorbit.to_jax_md(
        potential, params, displacement, box, numbers=atoms.numbers, capacity_multiplier=1.0
    )
    positions = jnp.asarray(atoms.positions)
    both = jax.jit(lambda r, lists: jax.value_and_grad(energy_fn)(r, neighbor=lists))
    energy, slope = both(positions, neighbor_fn.allocate(positions))
    for extra in (8, 30):
        larger = neighbor_fn.allocate(positions, extra_capacity=extra)
        again, forces = both(positions, larger)
        assert again == energy
        np.testing.assert_array_equal(forces, slope)


def test_an_overflowed_list_gives_nan_and_a_new_one_the_right_energy(crystal: dict):
    neighbor_fn = dataclasses.replace(crystal["neighbor_fn"], headroom=1.0)
    position = jnp.asarray(crystal["atoms"].positions)
    squeezed = position.at[1].set(0.5 * (position[0] + position[1])).at[2:8].add(0.7 * (position[1] - position[2:8]))
    neighbors = neighbor_fn.allocate(position).update(squeezed)
    assert neighbors.did_buffer_overflow
    assert np.isnan(crystal["energy"](squeezed, neighbor=neighbors))
    assert np.isfinite(crystal["energy"](squeezed, neighbor=neighbor_fn.allocate(squeezed)))


def test_a_position_that_is_not_a_number_gives_nan_not_the_energy_without_that_atom(crystal: dict):
    position = jnp.asarray(crystal["atoms"].positions).at[3, 1].set(jnp.nan)
    assert np.isnan(crystal["energy"](position, neighbor=crystal["neighbors"].update(position)))
    with pytest.raises(StructureError, match="NaN"):
        crystal["neighbor_fn"].allocate(position)


@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning")  # inside jax-md 0.2.29
def test_jax_mds_own_dense_list_is_accepted_where_one_image_is_enough():
    potential, params = argon()
    atoms = argon_crystal((3, 3, 3))
    box = columns(atoms)
    displacement, _ = space.periodic_general(box, fractional_coordinates=True)
    position = jnp.asarray(atoms.get_scaled_positions())
    foreign_fn = partition.neighbor_list(
        displacement, box, 6.0, dr_threshold=0.2, fractional_coordinates=True, format=partition.Dense
    )
    foreign = foreign_fn.allocate(position)
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
    ours = jax.jit(energy_fn)(position, neighbor=neighbor_fn.allocate(position))
    assert float(jax.jit(energy_fn)(position, neighbor=foreign)) == pytest.approx(float(ours), abs=1e-10)
    small = argon_crystal((1, 1, 1))
    displacement, _ = space.periodic_general(columns(small), fractional_coordinates=True)
    _, energy_fn = jorbit.to_jax_md(potential, params, displacement, columns(small), numbers=small.numbers)
    with pytest.raises(ConfigError, match="half the width"):
        energy_fn(position[:4], neighbor=dataclasses.replace(foreign, idx=foreign.idx[:4]))


def test_energies_per_atom_and_derivatives_with_respect_to_parameters(crystal: dict):
    position = jnp.asarray(crystal["atoms"].positions)
    outputs = crystal["energy_fn"].outputs(position, crystal["neighbors"])
    np.testing.assert_allclose(outputs.energy, crystal["prediction"].energies, atol=1e-10)
    params = jax.tree.map(jnp.asarray, argon()[1])
    slope = jax.grad(lambda p: crystal["energy_fn"](position, neighbor=crystal["neighbors"], params=p))(params)
    assert float(slope["reference_energy"]["energies"][0]) == pytest.approx(len(position))


def test_what_contradicts_itself_is_refused_with_the_cure():
    potential, params = argon()
    displacement, _ = space.periodic(10.0)
    with pytest.raises(MissingInputError, match="numbers="):
        jorbit.to_jax_md(potential, params, displacement, 10.0)
    with pytest.raises(UnknownSpeciesError, match="Xe"):
        jorbit.to_jax_md(potential, params, displacement, 10.0, numbers=[18, 54])
    with pytest.raises(UnknownSpeciesError, match=r"rows 0\.\.0"):
        jorbit.to_jax_md(potential, params, displacement, 10.0, species=[0, 18])
    with pytest.raises(StructureError, match="columns"):
        jorbit.to_jax_md(potential, params, displacement, jnp.ones((2, 2)), numbers=[18])
    with pytest.raises(StructureError, match="no volume"):
        jorbit.to_jax_md(potential, params, displacement, 0.0, numbers=[18])
    with pytest.raises(ConfigError, match="box"):
        jorbit.to_jax_md(potential, params, displacement, 12.0, numbers=[18])
    with pytest.raises(ConfigError, match="no box was given"):
        jorbit.to_jax_md(potential, params, space.periodic(1.0)[0], numbers=[18])
    with pytest.raises(ConfigError, match="fractional"):
        jorbit.to_jax_md(potential, params, displacement, 10.0, numbers=[18], fractional_coordinates=True)
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, 10.0, numbers=[18, 18])
    with pytest.raises(StructureError, match=r"\[2, 3\]"):
        neighbor_fn.allocate(jnp.zeros((3, 3)))
    position = jnp.zeros((2, 3)).at[1, 0].set(3.0)
    with pytest.raises(MissingInputError, match="neighbor_fn"):
        energy_fn(position)
    with pytest.raises(ConfigError, match="outside jit"):
        jax.jit(neighbor_fn.allocate)(position)
