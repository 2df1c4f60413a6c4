"""The watchman, over grades that are known in closed form: two argon atoms that fly apart at constant speed."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.pytree import pytree
from jorbit.core.species import SpeciesTable
from jorbit.potential.potential import Potential
from jorbit.simulate import run
from jorbit.simulate.exploration import _of_walker, explore
from jorbit.simulate.watchman import Watch, fingerprint
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


class Killed(BaseException):
    pass


def killed_and_resumed(n_blocks, watch, folder, **options):
    """The result of a run that is killed in the block after so many, when that is in the files but in no checkpoint."""
    blocks = []

    def ends(frames):
        blocks.append(frames)
        if len(blocks) > n_blocks:
            raise Killed

    same = dict(checkpoint=folder / "md.checkpoint", checkpoint_every=0.0, resume=True) | options
    with pytest.raises(Killed):
        fly(watch, observers=[ends], **same)
    return fly(watch, **same)


@pytest.mark.parametrize("with_file", [False, True])
def test_a_resumed_run_reports_what_it_saw_before(with_file, watched_and_alone, tmp_path):
    whole, _, whole_file = watched_and_alone
    kept = tmp_path / "kept.extxyz" if with_file else None
    watch = Watch(Separation(factor=1.0), record_above=13.0, record_to=kept, every=7)
    seen = killed_and_resumed(2, watch, tmp_path).watched
    assert seen.times.tobytes() == whole.watched.times.tobytes()
    assert seen.values.tobytes() == whole.watched.values.tobytes()
    assert seen.n_frames == len(seen.frames) == len(whole.watched.frames) == 4
    for frame, other in zip(seen.frames, whole.watched.frames, strict=True):
        assert frame.info["time_fs"] == other.info["time_fs"]
        np.testing.assert_allclose(frame.structure.positions, other.structure.positions, atol=1e-8)
    if with_file:
        assert kept.read_bytes() == whole_file.read_bytes()
        assert seen.kept == ()  # nothing that grows stays in memory
    again = fly(watch, checkpoint=tmp_path / "md.checkpoint", resume=True).watched  # complete: nothing is done
    assert again.times.tobytes() == seen.times.tobytes() and len(again.frames) == 4


def test_what_was_kept_in_memory_goes_to_a_file_that_is_asked_for_later(watched_and_alone, tmp_path):
    _, _, whole_file = watched_and_alone
    options = dict(checkpoint=tmp_path / "md.checkpoint", resume=True)
    watch = Watch(Separation(factor=1.0), record_above=13.0, every=7)
    half = fly(watch, n_steps=140, **options)
    assert [f.info["time_fs"] for f in half.watched.frames] == [84, 140] and half.watched.record_to is None
    with_file = dataclasses.replace(watch, record_to=tmp_path / "kept.extxyz")
    fly(with_file, **options)
    assert (tmp_path / "kept.extxyz").read_bytes() == whole_file.read_bytes()
    with pytest.raises(ConfigError, match="4 structures in the file .*record_to"):
        fly(watch, **options)
    (tmp_path / "kept.extxyz").write_text("")
    with pytest.raises(DataError, match="kept.extxyz is shorter"):
        fly(with_file, **options)


def test_a_run_that_stays_stopped_makes_no_records(tmp_path):
    watch = Watch(Separation(factor=1.0), stop_above=13.0, every=7)
    options = dict(checkpoint=tmp_path / "md.checkpoint", resume=True, trajectory=tmp_path / "fly.extxyz")
    first, again = fly(watch, **options), fly(watch, **options)
    assert again.stopped == first.stopped and again.n_compilations == 0
    assert again.times.tobytes() == first.times.tobytes() and len(jorbit.read(str(tmp_path / "fly.extxyz"))) == 7
    assert again.watched.stop_time == 56.0
    np.testing.assert_array_equal(again.watched.times, [35, 56])
    further = fly(dataclasses.replace(watch, stop_above=14.0), **options)
    np.testing.assert_array_equal(further.watched.times[:2], [35, 56])
    assert further.watched.stop_time == 105.0 and len(np.unique(further.times)) == len(further.times)


@pytest.mark.slow
def test_a_run_stopped_at_its_start_records_it_once(tmp_path):
    options = dict(checkpoint=tmp_path / "md.checkpoint", resume=True, n_steps=20, measure=("msd",))
    stopped = fly(Watch(Separation(factor=1.0), stop_above=11.0, every=7), **options)
    assert stopped.n_steps == 0 and stopped.watched.stop_time == 0.0
    watch = Watch(Separation(factor=1.0), stop_above=15.0, every=7)
    gone_on, alone = fly(watch, **options), fly(n_steps=20, measure=("msd",))
    np.testing.assert_array_equal(gone_on.times, [0, 10, 20])
    np.testing.assert_array_equal(gone_on.watched.times, [0, 14])
    for name, values in alone.arrays().items():
        np.testing.assert_array_equal(gone_on.arrays()[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("watch.bias_height .0.05 there, 0.1 here.", {"bias_height": 0.1}),
        ("watch.bias_width .0.1 there, 0.2 here.", {"bias_width": 0.2}),
        ("watch.every .7 there, 8 here.", {"every": 8}),
        ("watch.quantity .atoms there, energy here.", {"quantity": "energy"}),
        ("watch.record_above .inf there, 13.0 here.", {"record_above": 13.0}),
        ("watch.grade", {"grade": Stretch(energy_scale=2.0, forces_scale=1.0)}),
    ],
)
def test_a_checkpoint_of_another_watch_is_refused(name, change, biased_checkpoint, tmp_path):
    """Another bias is another dynamics; another grade, quantity or interval would mix two reports."""
    watch, content = biased_checkpoint
    file = tmp_path / "md.checkpoint"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"is of another run: {name} differ"):
        fly(dataclasses.replace(watch, **change), checkpoint=file, resume=True)


def test_a_watch_can_neither_be_dropped_nor_begun_on_the_way(biased_checkpoint, tmp_path):
    watch, content = biased_checkpoint
    file = tmp_path / "md.checkpoint"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="another run: .*watch.grade .in the checkpoint only"):
        fly(checkpoint=file, resume=True)
    raised = fly(dataclasses.replace(watch, stop_above=20.0), checkpoint=file, resume=True, n_steps=20)
    assert raised.n_steps == 20


@pytest.fixture(scope="module")
def biased_checkpoint(tmp_path_factory):
    file = tmp_path_factory.mktemp("biased") / "md.checkpoint"
    grade = Stretch(energy_scale=1.0, forces_scale=1.0)
    watch = Watch(grade, quantity="atoms", every=7, bias_height=0.05, stop_above=19.0)
    fly(watch, checkpoint=file, n_steps=10)
    return watch, file.read_bytes()


def test_a_grade_is_known_by_its_numbers_not_by_where_it_is():
    one, same, other = (fingerprint(Separation(factor=f)) for f in (1.0, 1.0, 2.0))
    assert one == same != other

    class Plain:  # no tree of arrays
        unit = ""

        def atoms(self, graph):
            return graph.positions[:, 0]

    assert fingerprint(Plain()) == fingerprint(Plain()) != one


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
