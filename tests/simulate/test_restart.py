"""Runs that are killed and taken up again end in the same bits as runs that are not."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import ase.io
import killable
import numpy as np
import pytest
from simulated_systems import argon, argon_crystal, structure_of

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Structure
from jorbit.simulate import run
from jorbit.simulate.blocks import record_plan
from jorbit.simulate.md_checkpoint import identity_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[pathlib.Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, killable.fingerprint(killable.simulate(folder, "npt_langevin", 100))


@pytest.mark.slow
def test_a_run_taken_up_after_each_block_ends_in_the_same_bits(whole, tmp_path):
    folder, bits = whole

    class Killed(BaseException):
        pass

    potential, params = argon()
    same = dict(integrator="npt_langevin", timestep=2.0, temperature=60.0, record_every=10, block_size=20)
    same |= dict(measure=("rdf", "msd", "vacf", "stress"), trajectory=tmp_path / "md.extxyz", checkpoint_every=0.0)
    same |= dict(checkpoint=tmp_path / "md.checkpoint", resume=True, progress=False)

    blocks = []

    def ends_after_two(frames):  # the second block is in the trajectory, but in no checkpoint
        blocks.append(frames)
        if len(blocks) == 2:
            raise Killed

    with pytest.raises(Killed):
        run(potential, params, structure_of(argon_crystal()), n_steps=100, observers=[ends_after_two], **same)
    assert len(ase.io.read(tmp_path / "md.extxyz", ":")) == 4
    result = killable.simulate(tmp_path, "npt_langevin", 100)
    assert killable.fingerprint(result) == bits
    assert (tmp_path / "md.extxyz").read_bytes() == (folder / "md.extxyz").read_bytes()
    assert result.times.tolist() == [20.0 * k for k in range(11)]
    # A run that is complete comes back at once, and a longer one goes on from its end.
    assert killable.fingerprint(killable.simulate(tmp_path, "npt_langevin", 100)) == bits


@pytest.mark.slow
def test_kill_dash_nine_at_random_times(tmp_path):
    # JORBIT_KILLS raises the number of kills for a soak test.
    kills = int(os.environ.get("JORBIT_KILLS", 2))
    steps = str(max(600, 60 * kills))
    (whole := tmp_path / "whole").mkdir()
    (killed := tmp_path / "killed").mkdir()
    script = [sys.executable, killable.__file__]
    subprocess.run([*script, str(whole), "npt_langevin", steps, "0"], check=True, capture_output=True)
    done = subprocess.run([*script, str(killed), "npt_langevin", steps, str(kills)], check=True, capture_output=True)
    assert int(done.stdout) >= kills / 2  # the others came after the end
    assert json.loads((killed / "result.json").read_text()) == json.loads((whole / "result.json").read_text())
    assert (killed / "md.extxyz").read_bytes() == (whole / "md.extxyz").read_bytes()


def test_blocks_begin_at_the_same_steps_wherever_a_run_is_taken_up():
    whole = record_plan(0, 95, 10, 30)
    assert whole.shape == (4, 3) and whole[0].tolist() == [0, 10, 10] and whole[-1].tolist() == [10, 5, -1]
    np.testing.assert_array_equal(record_plan(20, 95, 10, 30), whole[1:])
    np.testing.assert_array_equal(record_plan(80, 95, 10, 30), whole[3:])
    assert record_plan(95, 95, 10, 30).size == 0
    assert record_plan(95, 200, 10, 30)[0].tolist() == [5, 10, 10]


@pytest.mark.slow
def test_what_cannot_be_continued_is_refused(whole, tmp_path):
    folder, _ = whole
    potential, params = argon()
    start = structure_of(argon_crystal())
    file = tmp_path / "md.checkpoint"
    options = dict(checkpoint=file, resume=True, progress=False, timestep=2.0, n_steps=4)
    file.write_bytes((folder / "md.checkpoint").read_bytes())
    with pytest.raises(ConfigError, match="another run: .*integrator"):
        run(potential, params, start, **options)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        run(potential, params, start, **options)
    with pytest.raises(ConfigError, match="checkpoint="):
        run(potential, params, start, resume=True)


@pytest.mark.slow
def test_overflows_leave_what_a_run_with_room_leaves():
    # Two clusters fly into each other: neighbours double on the way, and lists made too small overflow several times.
    cluster = argon_crystal((1, 1, 1), rattle=0.02)[:4].positions
    start = Structure(positions=np.concatenate([cluster, cluster + [14.0, 0.5, 0.3]]), numbers=np.full(8, 18))
    velocities = np.zeros((8, 3))
    velocities[:4, 0], velocities[4:, 0] = 0.01, -0.01
    potential, params = argon()
    options = dict(n_steps=400, velocities=velocities, skin=0.2, timestep=2.0, progress=False)
    tight = run(potential, params, start, capacity_multiplier=1.0, **options)
    roomy = run(potential, params, start, capacity_multiplier=4.0, **options)
    assert tight.n_reallocations >= 1 and roomy.n_reallocations == 0
    np.testing.assert_array_equal(tight.potential_energies, roomy.potential_energies)
    np.testing.assert_array_equal(tight.structure.positions, roomy.structure.positions)
    assert np.ptp(roomy.potential_energies) > 0.01  # they did meet


def test_a_run_of_other_charge_or_orbits_is_another_run():
    potential, params = argon()
    pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 3.8]]), numbers=np.array([18, 18]))
    others = [dataclasses.replace(pair, charge=1.0), dataclasses.replace(pair, orbits=np.array([0, 1]))]
    starts = [identity_of(potential, params, s, {})["start"] for s in (pair, *others)]
    assert len(set(starts)) == 3 and identity_of(potential, params, pair, {})["start"] == starts[0]
