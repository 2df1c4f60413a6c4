"""Messages at all distances and charges that are learned: what they see, and what they say where they cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.errors import DataError, MissingInputError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.datasets import load_dataset
from jorbit.descriptors.acsf import ACSF
from jorbit.models.charges import Charges
from jorbit.models.schnet import SchNet
from jorbit.potential import Potential
from jorbit.potential.predict import predict
from jorbit.terms.ewald import Ewald
from jorbit.terms.latent_ewald import LatentEwald
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.testing import finite_difference_forces, systems, transformations
from jorbit.testing.systems import SPECIES
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.objective import LossWeights


def two_waters(distance: float, box: float = 0.0) -> Structure:
    w = systems.water()
    positions = np.concatenate([w.positions, w.positions + [[distance, 0.0, 0.0]]])
    cell, pbc = box * np.eye(3), np.full(3, box > 0)
    return Structure(positions=positions, numbers=np.tile(w.numbers, 2), cell=cell, pbc=pbc)


@pytest.mark.slow
def test_messages_reach_beyond_the_cutoff_and_do_not_depend_on_the_cell(x64):
    network = SchNet.tiny(3).clone(
        ewald_widths=(1.0, 2.0), ewald_channels=3, ewald_max_length=45.0, ewald_accuracy=1e-8
    )
    potential, bare = Potential((network,), SPECIES), Potential((SchNet.tiny(3),), SPECIES)
    turn = transformations.random_rotation(np.random.default_rng(0), proper=True)
    crystal = systems.triclinic_crystal()
    members = [
        two_waters(6.0),
        two_waters(9.0),
        transformations.rotated(two_waters(6.0), turn),
        two_waters(6.0, box=40.0),
        crystal,
        transformations.repeated(crystal, (2, 1, 1)),
    ]

    @jax.jit
    def energies(key, graph):
        params = potential.init(key, graph)
        learned = {k: v for k, v in params["schnet"]["params"].items() if "ewald" not in k}
        return potential.energy(params, graph), bare.energy({"schnet": {**params["schnet"], "params": learned}}, graph)

    found, without = (np.asarray(x) for x in energies(jax.random.key(1), potential.graph(members)))
    assert without[0] == pytest.approx(without[1], abs=1e-12) and abs(found[0] - found[1]) > 1e-4
    assert found[2] == pytest.approx(found[0], abs=1e-10)
    assert found[5] == pytest.approx(2 * found[4], abs=1e-9)
    # Sources are not neutral: a background and images 40 Å away change some of what the messages make.
    assert abs(found[3] - found[0]) < 0.4 * abs(found[0] - without[0])
    with pytest.raises(StructureError, match="ewald_max_length"):
        potential.labelled([two_waters(6.0, box=50.0)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["messages", "latent charges"])
def test_forces_on_slabs_are_derivatives_although_sources_are_not_neutral(kind, x64):
    """The empty space beside a slab follows its atoms, so nothing may depend on how wide it is."""
    if kind == "messages":
        term = SchNet.tiny(3).clone(ewald_widths=(1.0, 2.0), ewald_channels=3, ewald_max_length=24.0)
        term = term.clone(ewald_accuracy=1e-8)
    else:
        term = LatentEwald(ACSF.tiny(3), 3, n_channels=2, accuracy=1e-8, max_length=24.0)
    potential, slab = Potential((term,), SPECIES), dataclasses.replace(systems.slab(), charge=1.0)
    params = jax.jit(potential.init)(jax.random.key(1), potential.graph(slab))
    wanted = finite_difference_forces(lambda s: predict(potential, params, s).energy[0], slab)
    forces = predict(potential, params, slab).forces
    np.testing.assert_allclose(forces, wanted, atol=1e-6 * np.abs(wanted).max())
    positions = np.concatenate([slab.positions, slab.positions + slab.cell[0]])
    double = dataclasses.replace(
        slab, positions=positions, numbers=np.tile(slab.numbers, 2), cell=slab.cell * [[2.0], [1.0], [1.0]], charge=2.0
    )
    energies = [float(predict(potential, params, s).energy[0]) for s in (slab, double)]
    assert energies[1] == pytest.approx(2 * energies[0], abs=1e-6)


@pytest.mark.slow
def test_charges_are_fitted_to_labels_and_add_up_to_the_total_charge():
    rng, frames = np.random.default_rng(0), []
    for frame in list(load_dataset("ethanol_gfn2"))[:12]:
        s = dataclasses.replace(frame.structure, charge=float(rng.integers(-1, 2)))
        by_element = {1: 0.1, 6: -0.1, 8: -0.5}
        q = np.array([by_element[int(z)] for z in s.numbers]) + 0.05 * np.cos(s.positions[:, 0])
        frames.append(Frame(structure=s, labels=Labels(charges=q + (s.charge - q.sum()) / s.n_atoms)))
    species = SpeciesTable.from_numbers([1, 6, 8])
    head = Charges(n_species=3, descriptor=ACSF.tiny(3))
    potential = Potential((ReferenceEnergy(3), head), species)
    loss = LossWeights(energy=0.0, forces=0.0, stress=0.0, charges=1.0)
    config = GradientConfig(epochs=60, batch_size=6, learning_rate=0.03, loss=loss, ema=None)
    params, _ = train_by_gradient(potential, frames, config=config)
    wrong = dataclasses.replace(frames[0], structure=dataclasses.replace(frames[0].structure, charge=5.0))
    with pytest.raises(DataError, match="its total charge is 5 e"):
        train_by_gradient(potential, [wrong], config=config)
    found = predict(potential, params, potential.graph([f.structure for f in frames]))
    wanted = np.concatenate([f.labels.charges for f in frames])
    charges = np.asarray(found.charges)[: len(wanted)]
    assert np.sqrt(np.mean((charges - wanted) ** 2)) < 0.06 < 0.3 * wanted.std()
    sums = charges.reshape(12, 9).sum(axis=1)
    np.testing.assert_allclose(sums, [f.structure.charge for f in frames], atol=1e-5)


def test_what_a_head_of_charges_needs_is_said():
    alone = Potential((Charges.tiny(3),), SPECIES)
    with pytest.raises(MissingInputError, match="Put a term that predicts features before it"):
        alone.init(jax.random.key(0), alone.graph(systems.water()))
    uncharged = Potential((SchNet.tiny(3), Ewald.tiny(3)), SPECIES)
    with pytest.raises(MissingInputError, match="Put a term that predicts charges before it"):
        uncharged.init(jax.random.key(0), uncharged.graph(systems.water()))


@pytest.mark.slow
def test_dipoles_of_a_head_take_part_in_ewald_sums_and_turn_along(x64):
    descriptor = ACSF.tiny(3)
    terms = (Charges(n_species=3, descriptor=descriptor, dipoles=True, cutoff=3.0), Ewald.tiny(3))
    potential = Potential(terms, SPECIES)
    turn = transformations.random_rotation(np.random.default_rng(0), proper=False)
    members = [systems.triclinic_crystal(), transformations.rotated(systems.triclinic_crystal(), turn), two_waters(5.0)]
    graph = potential.graph(members)
    params = potential.init(jax.random.key(0), graph)
    params["charges"]["params"]["dipole_kernels"] = 3.0 * params["charges"]["params"]["dipole_kernels"]
    none = jax.tree.map(lambda x: x, params)
    none["charges"]["params"]["dipole_kernels"] = jnp.zeros_like(params["charges"]["params"]["dipole_kernels"])
    energies = jax.jit(lambda p: potential.energy(p, graph))
    found, without = np.asarray(energies(params)), np.asarray(energies(none))
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert np.abs(found[[0, 2]] - without[[0, 2]]).min() > 1e-6
    # Without dipoles, the sum over multipoles is that over charges, to the accuracy asked for.
    plain = Potential((terms[0].clone(dipoles=False), terms[1]), SPECIES)
    points = np.asarray(jax.jit(lambda p: plain.energy(p, graph))(params))
    np.testing.assert_allclose(without[:3], points[:3], atol=1e-4)
