"""A potential as the force provider of i-PI, over a socket: i-PI moves the atoms, jorbit computes them."""

import socket
import time
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.calculators.socketio import IPIProtocol, SocketClient
from ase.parallel import DummyMPI

from jorbit.core.errors import ConfigError, DataError, MissingInputError, SimulationError
from jorbit.simulate.ase_calculator import Calculator

UNIX_PREFIX = "/tmp/ipi_"  # where i-PI and ASE put sockets by name


def serve_ipi(
    model: Any,
    atoms: ase.Atoms,
    *,
    address: str = "localhost",
    port: int = 31415,
    unix: str | None = None,
    wait: float = 60.0,
    skin: float = 0.5,
    dtype: str = "float64",
    on_step: Callable[[int, float], None] | None = None,
) -> int:
    """Compute what an i-PI server asks for, until it ends: energies, forces and virials of every bead.

    Several clients may serve one simulation: i-PI shares the beads out among them.

    Args:
        model: path of a model file, or (potential, params).
        atoms: elements in i-PI's order; where they repeat (pbc), total charge and orbits. Positions and cell come from
            i-PI. Left as it is.
        address, port: of a server with `<ffsocket mode="inet">`.
        unix: name of a server with `<ffsocket mode="unix">` on this machine; then address and port do not count.
        wait: how long to wait for the server to be there, s.
        skin: of the neighbour list, Å.
        dtype: "float64" or "float32".
        on_step: called with the number of evaluations and the energy (eV).

    Returns:
        How many configurations were computed.

    Raises:
        MissingInputError: there is no server.
        DataError: the server has another number of atoms.
        SimulationError: an energy is not finite, or the server broke off.
    """
    if not wait >= 0:
        raise ConfigError(f"Wanted a time to wait of 0 s or more, got {wait}.")
    atoms = atoms.copy()
    atoms.calc = Calculator(model, skin=skin, dtype=dtype)
    name = None if unix is None else unix.removeprefix(UNIX_PREFIX)
    client = _connect(address, port, name, wait)
    receive = client.protocol.recvposdata

    def receive_checked() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cell, inverse, positions = receive()
        if len(positions) != len(atoms):
            raise DataError(
                f"i-PI moves {len(positions)} atoms, but the structure given here has {len(atoms)}. Give both the same "
                "atoms in the same order."
            )
        return cell, inverse, positions

    client.protocol.recvposdata = receive_checked
    n = 0
    try:
        # The virial is always sent: i-PI's barostats and pressures read it.
        for _ in client.irun(atoms, use_stress=True):
            n += 1
            if on_step is not None:
                on_step(n, float(atoms.get_potential_energy()))
    except (ConnectionError, BrokenPipeError) as error:
        raise SimulationError(f"i-PI broke off after {n} configurations: {error}. Look into its own output.") from error
    return n


class _Client(SocketClient):
    """ASE's client on a socket that is connected already; ASE would leave one open for every attempt in vain."""

    def __init__(self, connected: socket.socket):
        self.comm = DummyMPI()
        self.protocol = IPIProtocol(connected)
        self.log = self.protocol.log
        self.closed = False
        self.bead_index, self.bead_initbytes = 0, b""
        self.state = "READY"


def _connect(address: str, port: int, name: str | None, wait: float) -> SocketClient:
    give_up = time.monotonic() + wait
    while True:
        try:
            return _Client(_connected(address, port, name))
        except OSError as error:
            if time.monotonic() < give_up:
                time.sleep(0.1)
                continue
            where, mode = (f"{address}, port {port}", "inet") if name is None else (UNIX_PREFIX + name, "unix")
            raise MissingInputError(
                f"No i-PI server answers at {where} ({error.strerror or error}; waited {wait:g} s). Start it first: "
                f'i-pi input.xml, with <ffsocket mode="{mode}"> and the same address'
                f"{' and port' if name is None else ''}."
            ) from error


def _connected(address: str, port: int, name: str | None) -> socket.socket:
    if name is None:
        return socket.create_connection((address, port))
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(UNIX_PREFIX + name)
    except OSError:
        connected.close()
        raise
    return connected
