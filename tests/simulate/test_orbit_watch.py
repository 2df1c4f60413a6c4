"""The watch over orbits: free flight breaks a bond at a time that can be written down; vibration breaks none."""

import dataclasses

import numpy as np
import pytest

import jorbit
from jorbit.orbits.covalent_radii import RADII
from jorbit.potential import Potential
from jorbit.potential.orbit_reference import FoundOrbits
from jorbit.simulate.orbit_watch import OrbitWatch, summarize
from jorbit.terms.reference_energy import ReferenceEnergy

FREE = Potential((ReferenceEnergy(3),), jorbit.SpeciesTable.from_numbers([1, 6, 8]))
ZERO = {"reference_energy": {"energies": np.zeros(3)}}


@pytest.fixture(scope="module")
def frames():
    return jorbit.read("ethanol_gfn2")


@pytest.fixture(scope="module")
def reference(frames):
    return FoundOrbits.of(jorbit.find_orbits(frames[:100]))


def start_of(frames, reference):
    structure = frames[0].structure
    return dataclasses.replace(structure, orbits=reference.assign(structure))


def test_hot_frames_of_the_molecule_raise_nothing(frames, reference):
    """2000 frames at up to 1000 K, none of which reacts."""
    watch = OrbitWatch(reference, start_of(frames, reference))
    watch.look(np.arange(500.0), np.stack([f.structure.positions for f in frames[:500]]))
    assert watch.events == [] and summarize(watch.events) == ""


def test_a_bond_is_reported_when_free_flight_has_broken_it(frames, reference):
    """No forces: the hydroxyl hydrogen leaves along its bond, which is 1.5 (r_O + r_H) long after a known time."""
    structure = start_of(frames, reference)
    oxygen = int(np.flatnonzero(structure.numbers == 8)[0])
    hydrogen = int(np.flatnonzero((structure.numbers == 1) & (structure.orbits == 0))[0])
    bond = structure.positions[hydrogen] - structure.positions[oxygen]
    length, limit, speed = np.linalg.norm(bond), 1.5 * (RADII[8] + RADII[1]), 0.05
    velocities = np.zeros((9, 3))
    velocities[hydrogen] = speed * bond / length
    result = jorbit.simulate.run(
        FREE,
        ZERO,
        structure,
        n_steps=60,
        timestep=0.5,
        record_every=2,
        velocities=velocities,
        orbits=reference,
        progress=False,
    )
    broken = {event.atom: event for event in result.orbit_events}
    assert set(broken) == {oxygen, hydrogen} and {e.kind for e in broken.values()} == {"bond broken"}
    wanted = (limit - length) / speed  # fs
    assert 0 <= broken[hydrogen].time - wanted <= 1.0  # frames are 1 fs apart
    assert "no longer fit the simulation" in summarize(result.orbit_events)


def test_a_bond_that_forms_is_reported(frames, reference):
    structure = start_of(frames, reference)
    oxygen = int(np.flatnonzero(structure.numbers == 8)[0])
    methyl = int(np.flatnonzero((structure.numbers == 1) & (structure.orbits == 2))[0])
    moved = structure.positions.copy()
    moved[methyl] = moved[oxygen] + [0.0, 0.0, 1.0]
    watch = OrbitWatch(reference, structure)
    watch.look(np.array([3.0]), moved[None])
    kinds = {(e.kind, e.atom) for e in watch.events}
    assert ("bond formed", oxygen) in kinds and ("bond broken", methyl) in kinds


def test_exchanged_atoms_are_noticed(frames, reference):
    """Labels that were carried to the wrong atoms: bonds are whole, but not those of the orbits."""
    structure = start_of(frames, reference)
    order = np.arange(9)
    order[[0, 1]] = 1, 0
    watch = OrbitWatch(reference, structure)
    watch.look(np.array([0.0]), structure.positions[order][None])
    assert {0, 1} <= {e.atom for e in watch.events}


def test_runs_without_orbits_have_no_events(frames):
    result = jorbit.simulate.run(FREE, ZERO, frames[0].structure, n_steps=4, temperature=10.0, progress=False)
    assert result.orbit_events == ()
