"""The watchman, over grades that are known in closed form: two argon atoms that fly apart at constant speed."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.core.pytree import pytree
from jorbit.core.species import SpeciesTable
from jorbit.potential.potential import Potential
from jorbit.simulate import run
from jorbit.simulate.exploration import _of_walker, explore
from jorbit.simulate.watchman import Watch
from jorbit.terms.lennard_jones import LennardJones

ARGON = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
PARAMS = {"lennard_jones": {}}
SPEED = 0.01  # Å/fs, of each atom; nothing acts on them beyond the cutoff
APART = jorbit.Structure(positions=np.array([[0.0, 0, 0], [12.0, 0, 0]]), numbers=np.array([18, 18]))
OUTWARD = np.array([[-SPEED, 0, 0], [SPEED, 0, 0]])


@pytree
class Separation:
    """Distance of the two atoms, Å."""

    factor: float

    @property
    def unit(self) -> str:
        return ""

    def atoms(self, graph):
        return self.factor * jnp.linalg.norm(graph.positions - graph.positions[::-1], axis=1)


@pytree
class Stretch:
    """An uncertainty: the variance of the energy is (d - 4 Å)^2 eV^2/Å^2."""

    energy_scale: float
    forces_scale: float

    @property
    def unit(self) -> str:
        return "eV"

    @property
    def potential(self):
        return ARGON

    def atoms(self, graph):
        return jnp.linalg.norm(graph.positions - graph.positions[::-1], axis=1)

    def energy_variance(self, graph):
        return (jnp.linalg.norm(graph.positions[1] - graph.positions[0]) - 4.0) ** 2

    def forces_variance(self, graph):
        return jnp.ones_like(graph.positions)


def fly(watch=None, **options):
    options = dict(n_steps=200, timestep=1.0, velocities=OUTWARD, record_every=10, block_size=50) | options
    return run(ARGON, PARAMS, APART, watch=watch, progress=False, **options)


@pytest.fixture(scope="module")
def watched_and_alone(tmp_path_factory):
    """d = 12 + 0.02 t: above 13 from 50 fs on."""
    kept = tmp_path_factory.mktemp("watch") / "kept.extxyz"
    return fly(Watch(Separation(factor=1.0), record_above=13.0, record_to=kept, every=7)), fly(), kept


def test_looking_changes_no_bit(watched_and_alone):
    watched, alone, _ = watched_and_alone
    assert watched.structure.positions.tobytes() == alone.structure.positions.tobytes()
    assert watched.stopped == "" and alone.watched is None and watched.n_compilations == 1


def test_the_worst_of_each_block_is_kept_above_the_threshold(watched_and_alone):
    """Blocks end at 40, 90, 140, 190 and 200 steps; the last looks in them are at 35, 84, 140, 189 and 196."""
    watched, _, kept = watched_and_alone
    seen = watched.watched
    np.testing.assert_allclose(seen.values, 12 + 2 * SPEED * seen.times, rtol=1e-7)
    np.testing.assert_array_equal(seen.times, [35, 84, 140, 189, 196])
    assert [f.info["time_fs"] for f in seen.frames] == [84, 140, 189, 196]
    for frame, again in zip(seen.frames, jorbit.read(str(kept)), strict=True):
        apart = np.diff(frame.structure.positions[:, 0])[0]
        assert apart == pytest.approx(frame.info["grade"])
        np.testing.assert_allclose(again.structure.positions, frame.structure.positions, atol=1e-8)
        assert again.labels.energy is None


def test_the_first_look_above_the_threshold_is_the_last_step(tmp_path):
    """Looks at 7, 14, ...: the first above 13 Å, beyond 50 fs, is at 56; records end there."""
    path = tmp_path / "fly.extxyz"
    result = fly(Watch(Separation(factor=1.0), stop_above=13.0, every=7), trajectory=path)
    assert result.n_steps == 56 and result.watched.stop_time == 56.0
    assert "atoms: 13.12 is above 13 at 56 fs" in result.stopped
    np.testing.assert_array_equal(result.times, [0, 10, 20, 30, 40, 50, 56])
    assert np.diff(result.structure.positions[:, 0])[0] == pytest.approx(12 + 2 * SPEED * 56)
    frames = jorbit.read(str(path))
    np.testing.assert_allclose(frames[-1].structure.positions, result.structure.positions, atol=1e-8)


def test_a_stopped_run_goes_on_when_the_threshold_is_raised(tmp_path, watched_and_alone):
    options = {"checkpoint": tmp_path / "md.checkpoint", "resume": True}
    for _ in range(2):  # with the same threshold it stays where it is
        first = fly(Watch(Separation(factor=1.0), stop_above=13.0, every=7), **options)
        assert first.n_steps == 56 and "is above 13" in first.stopped
    rest = fly(Watch(Separation(factor=1.0), stop_above=14.0, every=7), **options)
    assert rest.n_steps == 105 and "14.1 is above 14 at 105 fs" in rest.stopped
    whole = fly(Watch(Separation(factor=1.0), every=7), **options)
    assert whole.stopped == "" and whole.n_steps == 200
    np.testing.assert_allclose(whole.structure.positions, watched_and_alone[1].structure.positions, atol=1e-10)


@pytest.mark.slow
def test_a_grade_that_is_not_a_number_stops_at_once():
    result = fly(Watch(Separation(factor=np.nan), stop_above=13.0))
    assert result.n_steps == 0 and len(result.times) == 1
    assert result.structure.positions.tobytes() == APART.positions.tobytes()


def test_a_biased_run_conserves_energy_and_bias_together():
    """Two atoms near their minimum at 3.82 Å: the bias pushes them where the variance is larger."""
    height, width = 0.05, 0.3
    near = dataclasses.replace(APART, positions=np.array([[0.0, 0, 0], [3.9, 0, 0]]))
    watch = Watch(Stretch(energy_scale=1.0, forces_scale=1.0), bias_height=height, bias_width=width, every=1)
    options = dict(n_steps=400, timestep=2.0, velocities=np.zeros((2, 3)), progress=False)
    records: list = []
    biased = run(ARGON, PARAMS, near, watch=watch, observers=[lambda f: records.extend(f.positions)], **options)
    d = np.linalg.norm(np.diff(np.array(records), axis=1)[:, 0], axis=1)
    bias = height * (np.exp(-((d - 4.0) ** 2) / (2 * width**2)) - 1.0)
    total = biased.total_energies + bias
    assert np.ptp(total) < 0.01 * np.ptp(bias) and np.ptp(bias) > 1e-3
    assert np.ptp(biased.total_energies) > 0.5 * np.ptp(bias)


def test_quantities_and_mistakes():
    grade, uncertainty = Separation(factor=1.0), Stretch(energy_scale=1.0, forces_scale=1.0)
    assert (Watch(grade).watched, Watch(uncertainty).watched, Watch(uncertainty).unit) == ("atoms", "energy", "eV")
    for wrong in (
        lambda: Watch(grade, quantity="energy"),
        lambda: Watch(uncertainty, quantity="stress"),
        lambda: Watch(grade, every=0),
        lambda: Watch(grade, bias_height=1.0),
        lambda: Watch(grade, stop_above=np.nan),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_walkers_record_in_files_of_their_own(tmp_path):
    watch = Watch(Separation(factor=1.0), record_above=0.0, record_to=tmp_path / "seen.xyz", every=50)
    options = {"temperatures": [100.0], "n_steps": 100, "every": 50}
    starts = [APART, dataclasses.replace(APART, positions=1.5 * APART.positions)]
    explore(ARGON, PARAMS, starts, watch, **options)
    firsts = [jorbit.read(str(tmp_path / f"seen.{k}.xyz"))[0].structure.positions for k in range(2)]
    assert [round(float(np.linalg.norm(np.diff(r, axis=0)))) for r in firsts] == [12, 18]
    assert _of_walker(watch, 0, 1) is watch


@pytest.mark.slow
def test_walkers_bring_back_what_they_saw_before_they_were_stopped():
    watch = Watch(Separation(factor=1.0), stop_above=12.5, every=10)
    walks = explore(ARGON, PARAMS, [APART], watch, temperatures=[2000.0], n_steps=600, every=50, timestep=1.0, seed=3)
    assert len(walks) == 1 and walks[0].time <= 600.0
    separations = [np.linalg.norm(s.positions[1] - s.positions[0]) for s in walks[0].structures]
    if walks[0].ending:
        assert separations[-1] > 12.5 and all(d < 13.5 for d in separations[:-1])
    else:
        assert len(separations) == 12
