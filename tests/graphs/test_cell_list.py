"""The search on the device finds what the search on the host finds, and says when it can no longer be trusted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.graph import Graph
from jorbit.core.structure import Structure
from jorbit.graphs import find_pairs
from jorbit.graphs.cell_list import _compact, plan_search, search, update
from jorbit.graphs.device_neighborhoods import add_neighborhoods

CUTOFFS = (2.0, 4.0)
compiled_search = jax.jit(search, static_argnums=0)
compiled_update = jax.jit(update)

TRICLINIC = np.array([[14.0, 0.0, 0.0], [3.0, 13.0, 0.0], [-2.0, 4.0, 15.0]])
CASES = {
    "open": (40, 12 * np.eye(3), (False, False, False), 6.0),
    "many bins": (120, TRICLINIC, (True, True, True), 0.0),
    "slab": (30, np.diag([9.0, 13.0, 20.0]), (True, True, False), 5.0),
    "wire": (12, np.diag([3.0, 20.0, 20.0]), (True, False, False), 3.0),
    "smaller than the cutoff": (3, np.diag([3.0, 3.5, 2.5]), (True, True, True), 0.0),
    "strongly skewed": (9, np.array([[5.0, 0, 0], [9.0, 5.0, 0], [-8.0, 7.0, 6.0]]), (True, True, True), 0.0),
    "one atom": (1, np.eye(3) * 3.9, (True, True, True), 0.0),
}


def make(case: str, spread: float = 0.0, seed: int = 0) -> Structure:
    n_atoms, cell, pbc, _ = CASES[case]
    rng = np.random.default_rng(seed)
    # Far outside the cell in periodic directions, but not in open ones.
    fractional = rng.random((n_atoms, 3)) + np.where(pbc, rng.integers(-3, 4, (n_atoms, 3)), 0)
    return Structure(
        positions=fractional @ cell + spread * rng.normal(size=(n_atoms, 3)),
        numbers=np.ones(n_atoms, int),
        cell=np.asarray(cell, float),
        pbc=np.array(pbc),
    )


def pairs_of(index, shifts, mask) -> list:
    mask = np.asarray(mask)
    i = np.nonzero(mask)[0].tolist()
    return sorted(zip(i, np.asarray(index)[mask].tolist(), np.asarray(shifts)[mask].astype(int).tolist(), strict=True))


def host_pairs(structure: Structure, radius: float) -> list:
    found = find_pairs(structure, radius)
    return sorted(zip(found.i.tolist(), found.j.tolist(), found.shifts.tolist(), strict=True))


def graph_of(structure: Structure) -> Graph:
    n_atoms = structure.n_atoms
    return Graph(
        positions=jnp.asarray(structure.positions),
        numbers=jnp.ones(n_atoms, jnp.int32),
        species=jnp.zeros(n_atoms, jnp.int32),
        owner=jnp.zeros(n_atoms, jnp.int32),
        cell=jnp.asarray(structure.cell)[None],
        charge=jnp.zeros(1, jnp.asarray(structure.positions).dtype),
        neighborhoods=(),
        atom_mask=jnp.ones(n_atoms, bool),
        structure_mask=jnp.ones(1, bool),
    )


@pytest.mark.parametrize("case", CASES)
def test_every_pair_of_the_host_search_is_found_with_its_image(case: str, x64: None):
    structure = make(case)
    skin = 0.3
    plan = plan_search(structure, CUTOFFS, skin=skin)
    found = compiled_search(plan, jnp.asarray(structure.positions), jnp.asarray(structure.cell))
    assert not found.overflow
    for k, cutoff in enumerate(CUTOFFS):
        here = pairs_of(found.index[k], found.shifts[k], found.mask[k])
        assert here == host_pairs(structure, cutoff + skin)


@pytest.mark.parametrize("case", ["many bins", "slab", "smaller than the cutoff"])
def test_a_list_kept_by_its_skin_gives_the_exact_pairs_although_atoms_move_and_are_wrapped(case: str, x64: None):
    structure = make(case)
    rng = np.random.default_rng(1)
    plan = plan_search(structure, CUTOFFS, skin=0.6)
    lists = compiled_search(plan, jnp.asarray(structure.positions), jnp.asarray(structure.cell))
    reference = np.asarray(lists.reference)
    kept = 0
    for _ in range(6):
        moved = structure.positions + 0.05 * rng.normal(size=structure.positions.shape)
        # Wrapping: whole lattice vectors are added to some atoms, in periodic directions only.
        images = np.where(structure.pbc, rng.integers(-1, 2, moved.shape), 0)
        structure = Structure(
            positions=moved + images @ structure.cell, numbers=structure.numbers, cell=structure.cell, pbc=structure.pbc
        )
        lists = compiled_update(lists, jnp.asarray(structure.positions), jnp.asarray(structure.cell))
        kept += int(np.array_equal(reference, np.asarray(lists.reference)))
        assert not lists.overflow
        graph = jax.jit(add_neighborhoods)(graph_of(structure), lists)
        for k, cutoff in enumerate(CUTOFFS):
            near = graph.neighborhoods[k]
            assert pairs_of(near.index, near.shifts, near.mask) == host_pairs(structure, cutoff)
    assert kept > 0  # the skin was put to use


def test_a_box_that_shrinks_is_followed_and_then_reported(x64: None):
    structure = make("many bins")
    plan = plan_search(structure, CUTOFFS, skin=0.3, headroom=4.0)
    lists = compiled_search(plan, jnp.asarray(structure.positions), jnp.asarray(structure.cell))
    for factor, fits in [(0.99, True), (0.6, False)]:
        positions, cell = factor * structure.positions, factor * structure.cell
        lists = compiled_update(lists, jnp.asarray(positions), jnp.asarray(cell))
        assert bool(lists.overflow) is not fits
        if fits:
            small = Structure(positions=positions, numbers=structure.numbers, cell=cell, pbc=structure.pbc)
            graph = add_neighborhoods(graph_of(small), lists)
            near = graph.within(4.0)
            assert pairs_of(near.index, near.shifts, near.mask) == host_pairs(small, 4.0)
    again = compiled_update(lists, jnp.asarray(structure.positions), jnp.asarray(structure.cell))
    assert again.overflow  # once set, it stays


def test_more_neighbours_than_slots_is_reported(x64: None):
    structure = make("open")
    plan = plan_search(structure, CUTOFFS, headroom=1.0)
    squeezed = 0.3 * jnp.asarray(structure.positions)
    assert compiled_search(plan, squeezed, jnp.asarray(structure.cell)).overflow


def test_compaction_lists_the_set_columns_in_order():
    rng = np.random.default_rng(0)
    wanted = rng.random((50, 77)) < rng.random((50, 1))
    column, valid, count = _compact(jnp.asarray(wanted), 77)
    assert count.tolist() == wanted.sum(axis=1).tolist()
    for row, columns, filled in zip(wanted, np.asarray(column), np.asarray(valid), strict=True):
        assert columns[filled].tolist() == np.flatnonzero(row).tolist()


def test_equal_structures_get_equal_plans_so_that_compiled_functions_are_shared():
    assert plan_search(make("slab"), CUTOFFS) == plan_search(make("slab"), CUTOFFS)
    assert hash(plan_search(make("slab"), CUTOFFS)) == hash(plan_search(make("slab"), CUTOFFS))


def test_a_plan_refuses_what_makes_no_sense():
    with pytest.raises(ConfigError, match="skin"):
        plan_search(make("open"), CUTOFFS, skin=-1.0)
    structure = make("open")
    structure.positions[3] = np.nan
    with pytest.raises(StructureError, match="NaN"):
        plan_search(structure, CUTOFFS)
