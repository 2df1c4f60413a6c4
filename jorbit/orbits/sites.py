"""Labels for atoms that are known by their place: in a crystal, a slab, a sheet, a rigid cluster.

The mean structure of the reference, repeated if need be, is laid on the new one: lattice vectors of the reference that
have the lengths and angles of the new cell give the orientation, one atom of the rarest element gives the shift.
Atoms and sites are then paired within each element so that the sum of squared displacements is smallest.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int

from jorbit.core.errors import StructureError
from jorbit.orbits.fragments import formula
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.lattice import displacements, make_lattice
from jorbit.orbits.result import OrbitResult

STRAIN = 0.06  # cells at another temperature or pressure differ by less
N_PROBES = 16  # atoms that rank the ways to lay the reference on the structure
N_TRIED = 8  # best ways that are looked at in full
MAX_WAYS = 200_000


@dataclasses.dataclass(frozen=True, eq=False)
class _Sites:
    """Sites of the reference, moved into the frame of the new structure up to a shift."""

    positions: Float[np.ndarray, "sites 3"]
    numbers: Int[np.ndarray, " sites"]
    source: Int[np.ndarray, " sites"]


def assign_sites(
    result: OrbitResult, in_place: Int[np.ndarray, " members"], found: Trajectory, atoms: Int[np.ndarray, " rest"]
) -> Int[np.ndarray, " rest"]:
    """Labels of `atoms` of a structure from the sites of the reference.

    Args:
        result: labels and reference.
        in_place: atoms of the reference that are known by their place.
        found: the new structure.
        atoms: its atoms to label.

    Raises:
        StructureError: no way to lay the reference on the structure leaves the atoms near their sites.
    """
    copies, left = divmod(len(atoms), len(in_place))
    wanted = np.repeat(np.sort(result.numbers[in_place]), max(copies, 1))
    if left or not np.array_equal(np.sort(found.numbers[atoms]), wanted):
        raise StructureError(
            f"The structure does not match the reference: wanted {formula(result.numbers[in_place])} or a multiple of "
            f"it, got {formula(found.numbers[atoms])}. Find orbits for it by itself."
        )
    if not np.array_equal(found.pbc, result.reference.pbc) and found.pbc.sum() != result.reference.pbc.sum():
        raise StructureError(
            f"The structure repeats along {found.pbc.tolist()}, the reference along {result.reference.pbc.tolist()}: "
            "wanted the same number of periodic directions. Set pbc."
        )
    ways = []
    for sites in _orientations(result, in_place, found, atoms, copies):
        ways += _rank_shifts(sites, found, atoms, _anchor(sites, result))
        if len(ways) > MAX_WAYS:
            break
    ways.sort(key=lambda way: way[0])
    best: tuple[float, float, np.ndarray] | None = None
    for _, sites, shift in ways[:N_TRIED]:
        rms, largest, pairing = _pair(sites, shift, found, atoms)
        if best is None or rms < best[0]:
            best = (rms, largest, sites.source[pairing])
    _check(best, result, in_place, found)
    return result.labels[best[2]] if best is not None else result.labels[:0]


def _check(best: tuple | None, result: OrbitResult, in_place: np.ndarray, found: Trajectory) -> None:
    """Raise unless displacements are of the size known from the trajectory, or small against distances of sites."""
    if best is None:
        raise StructureError(
            "The structure does not match the reference: its cell is no multiple of the cell in which the orbits were "
            f"found ({np.linalg.norm(result.reference.cell, axis=1).round(2).tolist()} Å long; "
            f"{np.linalg.norm(found.cell, axis=1).round(2).tolist()} Å here). Find orbits for it by itself."
        )
    positions = result.reference.positions[in_place]
    lattice = make_lattice(_complete(result.reference.cell, result.reference.pbc), result.reference.pbc)
    nearest = np.inf
    for k in range(len(positions)):
        steps = np.linalg.norm(displacements(np.delete(positions, k, axis=0) - positions[k], lattice), axis=-1)
        nearest = min(nearest, float(steps.min(initial=lattice.shortest)))
    amplitude = result.reference.amplitude
    if best[0] > max(2.0 * amplitude, 0.15 * nearest) or best[1] > max(4.0 * amplitude, 0.35 * nearest):
        raise StructureError(
            f"The structure does not match the reference: laid on it as well as can be, its atoms are {best[0]:.2f} Å "
            f"from their sites (root mean square) and {best[1]:.2f} Å at most; in the trajectory it was "
            f"{amplitude:.2f} Å. Is it another phase or defect, or has an atom moved? Find orbits for it by itself."
        )


def _complete(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Unit normals in the rows that do not repeat."""
    cell = cell.copy()
    rows = cell[pbc]
    cell[~pbc] = np.linalg.svd(rows, full_matrices=True)[2][len(rows) :] if len(rows) else np.eye(3)
    return cell


def _orientations(
    result: OrbitResult, in_place: np.ndarray, found: Trajectory, atoms: np.ndarray, copies: int
) -> Iterator[_Sites]:
    """Ways to turn and repeat the reference so that its lattice is that of the structure."""
    reference = result.reference
    positions, numbers = reference.positions[in_place], result.numbers[in_place]
    if not reference.pbc.any():
        yield from _turned_clusters(positions, numbers, in_place, found, atoms)
        return
    old, new = reference.cell[reference.pbc], found.cell[found.pbc]
    old_normals = _complete(reference.cell, reference.pbc)[~reference.pbc]
    new_normals = _complete(found.cell, found.pbc)[~found.pbc]
    signs = list(itertools.product((1.0, -1.0), repeat=len(old_normals)))
    for multiple in _supercells(old, new, copies):
        shifts = _translations(multiple, copies)
        spread = (positions[None] + (shifts @ old)[:, None]).reshape(-1, 3)
        for sign in signs:
            source = np.concatenate([multiple @ old, old_normals])
            target = np.concatenate([new, np.array(sign)[:, None] * new_normals])
            turned = spread @ np.linalg.solve(source, target)
            yield _Sites(turned, np.tile(numbers, copies), np.tile(in_place, copies))


def _supercells(
    old: Float[np.ndarray, "d 3"], new: Float[np.ndarray, "d 3"], copies: int
) -> list[Int[np.ndarray, "d d"]]:
    """Integer matrices H for which H @ old has the lengths and angles of new, best first."""
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(old), axis=0)
    lengths = np.linalg.norm(new, axis=1)
    reach = [int((1 + STRAIN) * lengths.max() / h) + 1 for h in heights]
    integers = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    vectors = integers @ old
    sizes = np.linalg.norm(vectors, axis=1)
    choices = [np.flatnonzero(np.abs(sizes / length - 1) < STRAIN) for length in lengths]
    found = []
    metric = new @ new.T / np.outer(lengths, lengths)
    for chosen in itertools.product(*choices):
        rows = vectors[list(chosen)]
        difference = np.abs(rows @ rows.T / np.outer(lengths, lengths) - metric).max()
        if difference < 2 * STRAIN and abs(round(np.linalg.det(integers[list(chosen)]))) == copies:
            found.append((difference, integers[list(chosen)]))
    found.sort(key=lambda item: item[0])
    closest = found[0][0] if found else 0.0
    return [multiple for difference, multiple in found if difference < closest + 0.5 * STRAIN]


def _translations(multiple: Int[np.ndarray, "d d"], copies: int) -> Float[np.ndarray, "copies d"]:
    """One lattice vector for each copy of the reference in the supercell."""
    d = len(multiple)
    reach = int(np.abs(multiple).sum(axis=0).max())
    grid = np.array(list(itertools.product(range(-reach, reach + 1), repeat=d)))
    inside = grid @ np.linalg.inv(multiple)
    kept = grid[((inside > -1e-6) & (inside < 1 - 1e-6)).all(axis=1)]
    if len(kept) != copies:
        raise StructureError(f"The supercell {multiple.tolist()} holds {len(kept)} cells, wanted {copies}.")
    return kept.astype(np.float64)


def _turned_clusters(
    positions: Float[np.ndarray, "sites 3"],
    numbers: np.ndarray,
    in_place: np.ndarray,
    found: Trajectory,
    atoms: np.ndarray,
) -> Iterator[_Sites]:
    """Rotations and reflections that bring three sites near three atoms of the same elements."""
    here, elements = found.positions[0][atoms], found.numbers[atoms]
    if len(positions) < 3:
        yield _Sites(positions, numbers, in_place)
        return
    corners = _corners(positions, numbers)
    triangle = positions[corners]
    sides = np.linalg.norm(triangle - np.roll(triangle, 1, axis=0), axis=1)
    choices = [np.flatnonzero(elements == numbers[c]) for c in corners]
    for chosen in itertools.islice(itertools.product(*choices), MAX_WAYS):
        other = here[list(chosen)]
        if np.abs(np.linalg.norm(other - np.roll(other, 1, axis=0), axis=1) - sides).max() > 0.2 * sides.min():
            continue
        left, _, right = np.linalg.svd((triangle - triangle.mean(axis=0)).T @ (other - other.mean(axis=0)))
        for sign in (1.0, -1.0):
            yield _Sites(positions @ (left @ np.diag([1.0, 1.0, sign]) @ right), numbers, in_place)


def _corners(positions: Float[np.ndarray, "sites 3"], numbers: Int[np.ndarray, " sites"]) -> list[int]:
    """Three sites far apart and not in line, the first of the rarest element."""
    values, counts = np.unique(numbers, return_counts=True)
    first = int(np.flatnonzero(numbers == values[counts.argmin()])[0])
    second = int(np.linalg.norm(positions - positions[first], axis=1).argmax())
    axis = positions[second] - positions[first]
    third = int(np.linalg.norm(np.cross(positions - positions[first], axis), axis=1).argmax())
    return [first, second, third]


def _anchor(sites: _Sites, result: OrbitResult) -> tuple[int, bool]:
    """A site of the rarest element, and whether all sites of that element are alike: any atom of it will do then."""
    values, counts = np.unique(sites.numbers, return_counts=True)
    z = values[counts.argmin()]
    finest = result.level_labels[-1][result.numbers == z]
    return int(np.flatnonzero(sites.numbers == z)[0]), bool((finest == finest[0]).all() and result.exact)


def _rank_shifts(
    sites: _Sites, found: Trajectory, atoms: np.ndarray, anchor: tuple[int, bool]
) -> list[tuple[float, _Sites, Float[np.ndarray, "3"]]]:
    """(misfit of some atoms, sites, shift) for each atom on which the anchor may lie."""
    here, elements = found.positions[0][atoms], found.numbers[atoms]
    site, alike = anchor
    starts = np.flatnonzero(elements == sites.numbers[site])
    starts = starts[:1] if alike else starts
    probes = np.unique(np.linspace(0, len(atoms) - 1, N_PROBES).round().astype(int))
    ranked = []
    for start in starts:
        shift = here[start] - sites.positions[site]
        steps = sites.positions[None] + shift - here[probes][:, None]
        squares = (displacements(steps, found.lattice) ** 2).sum(axis=-1)
        squares[elements[probes][:, None] != sites.numbers[None]] = np.inf
        ranked.append((float(squares.min(axis=1).mean()), sites, shift))
    return ranked


def _pair(
    sites: _Sites, shift: Float[np.ndarray, "3"], found: Trajectory, atoms: np.ndarray
) -> tuple[float, float, Int[np.ndarray, " rest"]]:
    """Root mean square and largest displacement, Å, and the site of each atom, after improving the shift."""
    here, elements = found.positions[0][atoms], found.numbers[atoms]
    pairing = np.zeros(len(atoms), dtype=np.int64)
    moved = np.zeros_like(here)
    for _ in range(3):
        for z in np.unique(elements):
            mine, theirs = np.flatnonzero(elements == z), np.flatnonzero(sites.numbers == z)
            steps = displacements(here[mine][:, None] - (sites.positions[theirs] + shift)[None], found.lattice)
            row, column = scipy.optimize.linear_sum_assignment((steps**2).sum(axis=-1))
            pairing[mine[row]] = theirs[column]
            moved[mine[row]] = steps[row, column]
        shift = shift + moved.mean(axis=0)
    lengths = np.linalg.norm(moved - moved.mean(axis=0), axis=1)
    return float(np.sqrt((lengths**2).mean())), float(lengths.max()), pairing
