"""A watch over orbits during a simulation: labels that no longer fit make energies meaningless."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import OrbitError
from jorbit.core.structure import Structure
from jorbit.potential.orbit_reference import FoundOrbits

MOST_EVENTS = 100  # kept; a simulation that falls apart would fill the memory


@dataclasses.dataclass(frozen=True)
class OrbitEvent:
    """Something that the labels of a simulation do not allow.

    Attributes:
        time: when it was first seen, fs.
        kind: "bond broken", "bond formed", or "assignment" (the atoms are no longer where their labels belong).
        atom: the atom concerned; -1 for all.
        text: a sentence for the user.
        row: of the species table, of the partners concerned; -1 for none.
    """

    time: float
    kind: Literal["bond broken", "bond formed", "assignment"]
    atom: int
    text: str
    row: int = -1


class OrbitWatch:
    """Looks at recorded frames and collects events; each is reported once.

    Bonds are compared with those that persist in the reference: broken beyond 1.5 times the sum of the covalent radii,
    formed below 1.1 times. Atoms that are bonded to nothing are known by their sites: they are assigned again.

    Args:
        reference: of the potential, or `FoundOrbits.of(jorbit.find_orbits(frames))` for any potential.
        structure: the start, with the labels that the simulation keeps.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")[:50]
        >>> reference = FoundOrbits.of(jorbit.find_orbits(frames))
        >>> start = dataclasses.replace(frames[0].structure, orbits=reference.assign(frames[0].structure))
        >>> watch = OrbitWatch(reference, start)
        >>> far = start.positions.copy()
        >>> far[2] += 4.0  # the oxygen leaves
        >>> watch.look(np.array([1.0]), far[None])
        >>> sorted({event.kind for event in watch.events})
        ['bond broken']
    """

    def __init__(self, reference: FoundOrbits, structure: Structure):
        if structure.orbits is None:
            structure = dataclasses.replace(structure, orbits=reference.assign(structure))
        self.reference, self.structure = reference, structure
        self.names = reference.species.names
        self.rows = reference.species.index(structure.numbers, structure.orbits)
        self.events: list[OrbitEvent] = []
        self._seen: set[tuple] = set()

    def look(self, times: Float[np.ndarray, " frames"], positions: Float[np.ndarray, "frames atoms 3"]) -> None:
        """Compare frames (fs, Å) with the labels; sites only in the last of them."""
        for time, r in zip(times, positions, strict=True):
            if len(self.events) >= MOST_EVENTS:
                return
            frame = dataclasses.replace(self.structure, positions=np.asarray(r, np.float64))
            for atom, row, change in self.reference.changed_bonds(frame):
                self._report(float(time), atom, row, change)
        if self.reference.has_lone_atoms and len(times):
            self._look_at_sites(float(times[-1]), np.asarray(positions[-1], np.float64))

    def remember(self, events: Sequence[OrbitEvent]) -> None:
        """Events of an earlier part of the run."""
        self.events = list(events)
        self._seen = {("assignment",) if e.kind == "assignment" else (e.kind, e.atom, e.row) for e in events}

    def _report(self, time: float, atom: int, row: int, change: int) -> None:
        kind = "bond broken" if change < 0 else "bond formed"
        if (kind, atom, row) in self._seen:
            return
        self._seen.add((kind, atom, row))
        what = "is no longer bonded to as many" if change < 0 else "is bonded to more"
        text = f"{kind}: atom {atom} ({self.names[self.rows[atom]]}) {what} {self.names[row]} as its orbit has"
        self.events.append(OrbitEvent(time, kind, atom, f"{text}, first seen at {time:.4g} fs", row))

    def _look_at_sites(self, time: float, positions: Float[np.ndarray, "atoms 3"]) -> None:
        if ("assignment",) in self._seen:
            return
        bare = dataclasses.replace(self.structure, positions=positions, orbits=None)
        try:
            moved = np.flatnonzero(self.reference.assign(bare) != self.structure.orbits)
            problem = f"atoms {moved[:8].tolist()} are on sites of other orbits" if len(moved) else ""
        except OrbitError as error:
            problem = f"the atoms fit no assignment any more ({error})"
        if problem:
            self._seen.add(("assignment",))
            self.events.append(OrbitEvent(time, "assignment", -1, f"{problem}, first seen at {time:.4g} fs"))


def summarize(events: Sequence[OrbitEvent], most: int = 3) -> str:
    """One message for the user, or "" when nothing happened."""
    if not events:
        return ""
    first = "; ".join(event.text for event in events[:most])
    more = f" (and {len(events) - most} more)" if len(events) > most else ""
    return (
        f"The orbits of the potential no longer fit the simulation: {first}{more}. Energies from then on mean little: "
        "use a model without orbits for reactive or diffusing systems."
    )
