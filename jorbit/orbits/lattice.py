"""The exact minimum image: reduced lattice vectors, and the few images that rounding can miss.

Rounding fractional coordinates finds the nearest image only in cells with right angles. In a Minkowski-reduced cell
the nearest image is among the 3^d - 1 neighbours of the rounded one, and of those only a few can ever be nearer.

References:
    P. Q. Nguyen and D. Stehlé, Low-dimensional lattice basis reduction revisited, ACM Trans. Algorithms 5, 46 (2009),
    doi:10.1145/1597036.1597050: the reduction and its property in up to four dimensions.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Bool, Float

from jorbit.core.errors import StructureError

_MAX_STEPS = 1000  # each step shortens a vector; ten are many


@dataclasses.dataclass(frozen=True, eq=False)
class Lattice:
    """A cell ready for exact distances.

    Attributes:
        vectors: a full-rank cell as rows, [3, 3], Å; its periodic rows are Minkowski-reduced, the others are unit
            vectors normal to them.
        periodic: which rows repeat.
        images: lattice vectors, one of each pair ±S, that can bring an atom nearer than rounding does, [images, 3], Å.
    """

    vectors: Float[np.ndarray, "3 3"]
    periodic: Bool[np.ndarray, "3"]
    images: Float[np.ndarray, "images 3"]

    @property
    def n_periodic(self) -> int:
        return int(self.periodic.sum())

    @property
    def shortest(self) -> float:
        """Length of the shortest lattice vector, Å; infinite without periodic directions."""
        rows = self.vectors[self.periodic]
        return float(np.linalg.norm(rows, axis=1).min(initial=np.inf))


def make_lattice(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, "3"]) -> Lattice:
    """Reduce a cell and list the images that matter.

    Args:
        cell: lattice vectors as rows, Å.
        pbc: which of them repeat.

    Example:
        >>> hexagonal = np.array([[2.0, 0, 0], [-1.0, np.sqrt(3.0), 0], [0, 0, 9.0]])
        >>> make_lattice(hexagonal, np.array([True, True, False])).images.shape
        (2, 3)
    """
    pbc = np.asarray(pbc, dtype=bool)
    rows = _reduce(np.asarray(cell, dtype=np.float64)[pbc])
    d = len(rows)
    normals = np.linalg.svd(rows, full_matrices=True)[2][d:] if d else np.eye(3)
    vectors = np.concatenate([rows, normals])
    if np.linalg.det(vectors) < 0 and d < 3:
        vectors[-1] *= -1
    periodic = np.arange(3) < d
    return Lattice(vectors, periodic, _relevant(rows))


def _reduce(rows: Float[np.ndarray, "vectors 3"]) -> Float[np.ndarray, "vectors 3"]:
    """Minkowski reduction: every vector is as short as integer combinations of the shorter ones allow."""
    rows = rows.copy()
    if len(rows) < 2:
        return rows
    offsets = np.array(list(itertools.product((-1, 0, 1), repeat=len(rows) - 1)), dtype=np.float64)
    for _ in range(_MAX_STEPS):
        rows = rows[np.argsort(np.linalg.norm(rows, axis=1), kind="stable")]
        shorter, last = _reduce(rows[:-1]), rows[-1]
        nearest = np.round(np.linalg.lstsq(shorter.T, last, rcond=None)[0])
        candidates = last - (nearest + offsets) @ shorter
        norms = np.linalg.norm(candidates, axis=1)
        best = int(np.argmin(norms))
        rows = np.concatenate([shorter, [last]])
        if norms[best] >= np.linalg.norm(last) * (1 - 1e-12):
            return rows
        rows[-1] = candidates[best]
    raise StructureError(
        f"The lattice vectors {rows.tolist()} could not be reduced: wanted independent rows of similar size. "
        "Check the cell."
    )


def _relevant(rows: Float[np.ndarray, "vectors 3"]) -> Float[np.ndarray, "images 3"]:
    """With fractions |f_i| <= 1/2, |d + S| < |d| needs sum_i |S.a_i| > S.S; one of each pair ±S."""
    found = []
    for shift in itertools.product((-1, 0, 1), repeat=len(rows)):
        nonzero = [n for n in shift if n]
        if not nonzero or nonzero[0] < 0:
            continue
        image = np.array(shift, dtype=np.float64) @ rows
        if np.abs(rows @ image).sum() > image @ image * (1 + 1e-9):
            found.append(image)
    return np.array(found).reshape(-1, 3)


def neighbor_images(lattice: Lattice, radius: float) -> Float[np.ndarray, "images 3"]:
    """All lattice vectors, zero included, that can bring an atom within `radius` (Å) of another.

    Minimum-image vectors are never longer than half the sum of the reduced vectors, so longer ones cannot count.
    """
    rows = lattice.vectors[lattice.periodic]
    reach = radius + 0.5 * np.linalg.norm(rows, axis=1).sum()
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(rows), axis=0) if len(rows) else np.zeros(0)
    counts = [range(-int(reach / h) - 1, int(reach / h) + 2) for h in heights]
    shifts = np.array(list(itertools.product(*counts)), dtype=np.float64).reshape(-1, len(rows))
    images = shifts @ rows if len(rows) else np.zeros((1, 3))
    return images[np.linalg.norm(images, axis=1) <= reach]


def displacements(vectors: Float[np.ndarray, "*batch 3"], lattice: Lattice) -> Float[np.ndarray, "*batch 3"]:
    """The shortest periodic image of each vector (Å), on the host; the twin of the traced one in `statistics`."""
    fractional = vectors @ np.linalg.inv(lattice.vectors)
    best = (fractional - np.round(fractional) * lattice.periodic) @ lattice.vectors
    rounded = best
    shortest = (best**2).sum(axis=-1)
    for image in np.concatenate([lattice.images, -lattice.images]):
        moved = rounded + image
        length = (moved**2).sum(axis=-1)
        nearer = length < shortest
        best = np.where(nearer[..., None], moved, best)
        shortest = np.where(nearer, length, shortest)
    return best
