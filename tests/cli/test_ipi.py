"""`jorbit ipi`: every number a server of i-PI's protocol gets is jorbit's, from a plain socket and from i-PI itself."""

import importlib.util
import pathlib
import socket
import subprocess
import sys
import threading
import uuid

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.socketio import IPIProtocol

import jorbit
from jorbit.core.structure import Structure

INPUT = """<simulation verbosity='low'>
  <output prefix='sim'>
    <properties stride='1' filename='out'> [step, potential{electronvolt}, virial_cv{ev/ang3}] </properties>
    <trajectory filename='pos' stride='1'> positions{angstrom} </trajectory>
    <trajectory filename='force' stride='1'> forces{ev/ang} </trajectory>
  </output>
  <total_steps>STEPS</total_steps>
  <prng><seed>3</seed></prng>
  <ffsocket name='jorbit' mode='unix' pbc='False'><address>ADDRESS</address><timeout>60</timeout></ffsocket>
  <system>
    <initialize nbeads='BEADS'>
      <file mode='xyz'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='jorbit'></force></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.5 </timestep>
        <thermostat mode='THERMOSTAT'><tau units='femtosecond'> 100 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
  </system>
</simulation>
"""
BOX = 15.0  # Å


def predicted(model, structure: Structure, positions: np.ndarray, cell: np.ndarray):
    moved = Structure(positions=positions, numbers=structure.numbers, cell=cell)
    return jorbit.predict(*jorbit.load(model), moved)


@pytest.fixture
def place(tmp_path):
    """Name and path of a socket that no other test has."""
    name = f"jorbit_{uuid.uuid4().hex[:12]}"
    path = pathlib.Path(f"/tmp/ipi_{name}")
    yield name, path
    path.unlink(missing_ok=True)


def serve(path: pathlib.Path, talk) -> threading.Thread:
    """A server for one client, in a thread; `talk` gets the protocol."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def work() -> None:
        with server, server.accept()[0] as client:
            talk(IPIProtocol(client))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_energy_forces_and_virial_reach_the_server(model, data, run, place):
    structure = jorbit.read(data)[0].structure
    cell = np.array([[BOX, 0, 0], [2.0, BOX, 0], [1.0, 3.0, BOX]])
    moves = [structure.positions + 0.05 * np.random.default_rng(k).normal(size=(9, 3)) for k in range(3)]
    answers = []

    def talk(protocol):
        answers.extend(protocol.calculate(x, cell) for x in moves)
        protocol.end()

    thread = serve(place[1], talk)
    result = run("ipi", model, data, "--unix", place[0])
    thread.join(60)
    assert result.exit_code == 0, result.output
    assert "3 configurations" in result.output
    for positions, answer in zip(moves, answers, strict=True):
        wanted = predicted(model, structure, positions, cell)
        np.testing.assert_allclose(answer["energy"], wanted.energy[0], rtol=1e-9)
        np.testing.assert_allclose(answer["forces"], wanted.forces, atol=1e-8)
        virial = -np.asarray(wanted.stress[0]) * np.linalg.det(cell)
        np.testing.assert_allclose(answer["virial"], virial, atol=1e-7)
        assert np.abs(virial).max() > 0.1


def test_mistakes_are_explained(model, data, run, place):
    absent = run("ipi", model, data, "--unix", place[0], "--wait", "0")
    assert absent.exit_code == 1 and "No i-PI server answers" in absent.output and place[0] in absent.output
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    absent = run("ipi", model, data, "--port", port, "--wait", "0")
    assert absent.exit_code == 1 and f"port {port}" in absent.output and "inet" in absent.output
    thread = serve(place[1], lambda protocol: protocol.sendposdata(np.eye(3), np.eye(3), np.zeros((4, 3))))
    wrong = run("ipi", model, data, "--unix", place[0])
    thread.join(60)
    assert wrong.exit_code == 1 and "4 atoms" in wrong.output and "has 9" in wrong.output
    assert run("ipi", model, data, "--dtype", "float16").exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize(("beads", "steps", "thermostat"), [(1, 20, "langevin"), (4, 10, "pile_g")])
def test_ethanol_in_ipi(model, data, run, place, tmp_path, beads, steps, thermostat):
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("ipi is not installed: pip install ipi")
    structure = jorbit.read(data)[0].structure
    atoms = ase.Atoms(numbers=structure.numbers, positions=structure.positions - structure.positions.mean(0) + BOX / 2)
    lines = [f"{x[0]} {x[1]} {x[2]}" for x in atoms.positions]
    head = f"# CELL(abcABC): {BOX} {BOX} {BOX} 90 90 90 cell{{angstrom}} positions{{angstrom}}"
    body = [f"{s} {line}" for s, line in zip(atoms.get_chemical_symbols(), lines, strict=True)]
    (tmp_path / "start.xyz").write_text("\n".join([str(len(atoms)), head, *body]) + "\n")
    text = INPUT.replace("ADDRESS", place[0]).replace("BEADS", str(beads)).replace("STEPS", str(steps))
    (tmp_path / "input.xml").write_text(text.replace("THERMOSTAT", thermostat))
    program = pathlib.Path(sys.executable).parent / "i-pi"
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, str(program), "input.xml"], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        result = run("ipi", model, data, "--unix", place[0], "--wait", "300")
        assert server.wait(timeout=120) == 0, (tmp_path / "log").read_text()
    finally:
        server.kill()
    assert result.exit_code == 0, result.output
    rows = np.loadtxt(tmp_path / "sim.out")
    assert len(rows) == steps + 1
    frames = [ase.io.read(tmp_path / f"sim.pos_{k}.xyz", ":") for k in range(beads)]
    forces = [ase.io.read(tmp_path / f"sim.force_{k}.xyz", ":") for k in range(beads)]
    for step in (0, steps // 2, steps):
        wanted = [predicted(model, structure, f[step].positions, BOX * np.eye(3)) for f in frames]
        # i-PI writes positions with six digits: 1e-5 Å, under forces of about 10 eV/Å.
        assert abs(rows[step, 1] - np.mean([w.energy[0] for w in wanted])) < 1e-3
        for force, w in zip(forces, wanted, strict=True):
            np.testing.assert_allclose(force[step].positions, w.forces, atol=1e-2)
        # Sums of positions times forces, wrong by 1e-3 eV for the same reason, in a box of 3375 Å^3.
        virial = -np.mean([w.stress[0] for w in wanted], axis=0)
        np.testing.assert_allclose(rows[step, 2:], virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], atol=2e-6)
    spread = np.std([f[steps].positions for f in frames], axis=0).max()
    assert spread > 0.01 if beads > 1 else spread == 0  # beads are delocalised
