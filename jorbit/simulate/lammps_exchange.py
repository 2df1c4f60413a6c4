"""Forces on ghost atoms go home: who owns which atom, and one message per step between ranks that share some."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import SimulationError


@dataclasses.dataclass(frozen=True, eq=False)
class Exchange:
    """Which rows of a rank's atoms go where.

    Attributes:
        sent: rows of foreign atoms, grouped by the rank that owns them.
        n_sent: how many to each rank.
        received: rows of own atoms on which other ranks have forces, grouped by the rank they come from.
        n_received: how many from each rank.
    """

    sent: Int[np.ndarray, " sent"]
    n_sent: Int[np.ndarray, " ranks"]
    received: Int[np.ndarray, " received"]
    n_received: Int[np.ndarray, " ranks"]


def plan_exchange(comm: Any, tags: Int[np.ndarray, " atoms"], own: Bool[np.ndarray, " atoms"]) -> Exchange:
    """Find the owners of foreign atoms. Every rank must call this at the same time.

    Nobody knows all atoms: rank `tag % size` keeps the addresses of its share of the tags.

    Args:
        comm: communicator (mpi4py).
        tags: of the distinct atoms that this rank sees, ascending.
        own: which of them are its own.

    Raises:
        SimulationError: a foreign atom belongs to no rank, on every rank.
    """
    size = comm.Get_size()
    mine, foreign = tags[own], tags[~own]
    registered = comm.alltoall([mine[mine % size == k] for k in range(size)])
    asked = comm.alltoall([foreign[foreign % size == k] for k in range(size)])
    known = np.concatenate(registered)
    owners = np.repeat(np.arange(size), [len(t) for t in registered])
    order = np.argsort(known)
    known, owners = known[order], owners[order]
    answers = comm.alltoall([_look_up(known, owners, question) for question in asked])
    owner = np.empty(len(foreign), np.int64)
    for k in range(size):
        owner[foreign % size == k] = answers[k]
    if comm.allreduce(int((owner < 0).sum())):
        raise SimulationError(
            "Ghost atoms belong to no rank: an atom was lost. Look for overlapping atoms or a time step too long."
        )
    rows = np.flatnonzero(~own)
    sent = [rows[owner == k] for k in range(size)]
    wanted = comm.alltoall([tags[r] for r in sent])
    received = [np.searchsorted(tags, t) for t in wanted]
    return Exchange(
        sent=np.concatenate(sent).astype(np.int64),
        n_sent=np.array([len(r) for r in sent]),
        received=np.concatenate(received).astype(np.int64),
        n_received=np.array([len(r) for r in received]),
    )


def _look_up(
    known: Int[np.ndarray, " known"], owners: Int[np.ndarray, " known"], asked: Int[np.ndarray, " asked"]
) -> Int[np.ndarray, " asked"]:
    """Owner of each tag; -1 of a tag that nobody has."""
    if len(known) == 0:
        return np.full(len(asked), -1)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[at] == asked, owners[at], -1)


def forces_at_home(comm: Any, exchange: Exchange, forces: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
    """Forces with those that other ranks have on this rank's atoms added. Every rank calls this at the same time.

    Args:
        comm: communicator (mpi4py).
        exchange: made for the same atoms.
        forces: of this rank's energies on all atoms that it sees, eV/Å.
    """
    outgoing = np.ascontiguousarray(forces[exchange.sent])
    incoming = np.empty((len(exchange.received), 3))
    comm.Alltoallv([outgoing, 3 * exchange.n_sent], [incoming, 3 * exchange.n_received])
    total = forces.copy()
    np.add.at(total, exchange.received, incoming)
    return total
