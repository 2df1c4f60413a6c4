"""Degenerate environments: pairs that are not congruent, and that incomplete sets of invariants cannot tell apart.

Atom 0 is the centre, C; its neighbours are H. Verdicts hold for the moments of one channel in which every neighbour
weighs the same (any radial function will do, where all neighbours are at one distance).
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from jorbit.core.structure import Structure

SETS = ("hop13:2,3", "hop13:3,3", "hop13", "hop14", "flex15", "full20")  # n <= 2, n <= 3, and the named ones


@dataclasses.dataclass(frozen=True, eq=False)
class DegeneratePair:
    """Two environments, and who can tell them apart.

    Attributes:
        name: short.
        first, second: structures of one centre and its neighbours, Å.
        separated_by: those of `SETS` whose invariants differ, for moments of equal weights.
        congruent: whether they are mirror images of each other: then energies are equal, and so must be invariants.
        about: what the pair shows.
    """

    name: str
    first: Structure
    second: Structure
    separated_by: frozenset[str]
    about: str
    congruent: bool = False


def _environment(neighbors: Float[np.ndarray, "neighbors 3"]) -> Structure:
    numbers = np.array([6] + [1] * len(neighbors))
    return Structure(positions=np.concatenate([np.zeros((1, 3)), neighbors]), numbers=numbers)


def _in_plane(steps: tuple[int, ...], radius: float) -> Structure:
    """Neighbours at multiples of 45 degrees."""
    angles = np.pi / 4 * np.array(steps)
    return _environment(radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(len(steps))], axis=1))


def homometric_squares(radius: float = 1.5) -> DegeneratePair:
    """E1: four neighbours in a plane at 45 degrees times {0, 1, 3, 4} and {0, 1, 2, 5}.

    The two have the same distances and the same angles, with the same frequencies, so products of two moments agree for
    every l: three-body descriptors are blind.

    References:
        Pozdnyakov, Willatt, Bartók, Ortner, Csányi and Ceriotti, Phys. Rev. Lett. 125, 166001 (2020) (such pairs).
    """
    return DegeneratePair(
        "homometric_squares",
        _in_plane((0, 1, 3, 4), radius),
        _in_plane((0, 1, 2, 5), radius),
        frozenset(SETS) - {"hop13:2,3"},
        "equal distances and angles: three-body descriptors are blind",
    )


def twin_tetrahedra(radius: float = 1.5) -> DegeneratePair:
    """E2: a regular tetrahedron and a rotated copy of it; two different rotations.

    A tetrahedron has neither vector nor second moment, so v = Q = 0 and only s, T:T and T:T:T:T live. Both rotations
    give the same T:T and T:T:T:T: all sets up to four tensors with l <= 3 are blind. The invariants of T alone of
    degree 6 and 10 see it.
    """
    corners = radius * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
    turns = ((0.5, 0.2, -0.3), (0.58837297696925, -1.10068193024991, -1.03082905308973))
    first, second = (
        _environment(np.concatenate([corners, corners @ Rotation.from_rotvec(turn).as_matrix().T])) for turn in turns
    )
    return DegeneratePair(
        "twin_tetrahedra",
        first,
        second,
        frozenset({"flex15"}),
        "v = Q = 0: only invariants of T alone of higher degree see the difference",
    )


def equal_up_to_three_tensors(radius: float = 1.5) -> DegeneratePair:
    """E3: six neighbours each, made so that all eight invariants of up to three moments of l <= 3 agree.

    The second was found from the first with Gauss-Newton steps; nine shape parameters leave room for a family of them.
    """
    first = np.array([[1, 0, 0], [2, 1, 2], [-2, 2, 1], [0, -4, 3], [-3, 0, -4], [1, -2, -2]], dtype=np.float64)
    second = np.array(
        [
            [-0.527149714351594, 0.19610364990586, 0.82683525393674],
            [0.266811858183958, 0.255428728138226, -0.929283378294324],
            [0.606604953824705, -0.582917372137396, 0.540590202700493],
            [-0.54497920286782, 0.818764877472017, -0.180614904866097],
            [0.959205193697155, 0.02767939675887, -0.281352532207316],
            [-0.235865350080837, -0.692686434203958, -0.681581279453192],
        ]
    )
    first, second = (radius * u / np.linalg.norm(u, axis=1, keepdims=True) for u in (first, second))
    return DegeneratePair(
        "equal_up_to_three_tensors",
        _environment(first),
        _environment(second),
        frozenset({"hop13", "hop14", "flex15", "full20"}),
        "all products of up to three moments agree: five bodies are needed",
    )


def mirror_images(radius: float = 1.5) -> DegeneratePair:
    """E5: a chiral environment and its mirror image. Energies are equal, and parity-even invariants must be."""
    hand = radius * np.array([[1.0, 0, 0], [0, 0.8, 0.6], [-0.6, 0.48, 0.64], [0.28, -0.96, 0]])
    return DegeneratePair(
        "mirror_images",
        _environment(hand),
        _environment(hand * np.array([1.0, 1.0, -1.0])),
        frozenset(),
        "mirror images: no invariant without the Levi-Civita symbol may differ",
        congruent=True,
    )


def same_distances() -> DegeneratePair:
    """Two neighbours at 5 Å, bent and straight: only angles differ."""
    bent, straight = np.array([[5.0, 0, 0], [3.0, 0, 4.0]]), np.array([[5.0, 0, 0], [-5.0, 0, 0]])
    about = "equal distances: two-body descriptors are blind"
    return DegeneratePair("2body", _environment(bent), _environment(straight), frozenset(SETS), about)


def same_angles() -> DegeneratePair:
    """Four neighbours with the same distances and angles; they differ in the place of one of them."""
    shared = [[5.0, 0, 5.0], [5.0, 5.0, 5.0], [-5.0, -5.0, 5.0]]
    first, second = (_environment(np.array([*shared, [0.0, y, 5.0]])) for y in (5.0, -5.0))
    about = "equal distances and angles: three-body descriptors are blind"
    return DegeneratePair("3body", first, second, frozenset(SETS) - {"hop13:2,3"}, about)


def _ring(degrees: tuple[float, ...], height: float, radius: float) -> np.ndarray:
    """Points in a plane y = height at a distance from the origin."""
    angles, wide = np.deg2rad(degrees), np.sqrt(radius**2 - height**2)
    return np.stack([wide * np.cos(angles), np.full(len(angles), height), wide * np.sin(angles)], axis=1)


def same_tetrahedra_chiral() -> DegeneratePair:
    """A scalene triangle and one atom above or below it: mirror images, equal in everything but handedness."""
    triangle = _ring((0.0, 100.0, 210.0), 0.0, 5.0)
    first, second = (_environment(np.concatenate([triangle, [[0.0, y, 0.0]]])) for y in (5.0, -5.0))
    about = "mirror images: energies are equal, and invariants must be"
    return DegeneratePair("4body_chiral", first, second, frozenset(), about, congruent=True)


def same_tetrahedra() -> DegeneratePair:
    """Two scalene triangles, one turned, above and below the centre, and one atom at the top or at the bottom.

    Distances, angles and the shapes of all tetrahedra with the centre agree: four-body descriptors are blind.
    """
    above, below = _ring((0.0, 100.0, 210.0), 2.0, 5.0), _ring((36.0, 136.0, 246.0), -2.0, 5.0)
    first, second = (_environment(np.concatenate([above, below, [[0.0, y, 0.0]]])) for y in (5.0, -5.0))
    about = "equal distances, angles and tetrahedra: four-body descriptors are blind"
    blind = {"hop13:2,3", "hop13:3,3"}
    return DegeneratePair("4body_nonchiral", first, second, frozenset(SETS) - blind, about)


def degenerate_pairs() -> dict[str, DegeneratePair]:
    """All pairs of environments by name.

    The last four are made after Figs. 1 and 2 of Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020).

    Example:
        >>> from jorbit.descriptors import separate
        >>> from jorbit.descriptors.cartesian import Cartesian
        >>> pair = degenerate_pairs()["twin_tetrahedra"]
        >>> for name in ("hop13", "flex15"):
        ...     print(name, bool(separate(pair.first, pair.second, Cartesian(2, n_radial=1, invariants=name))))
        hop13 False
        flex15 True
    """
    pairs = (
        homometric_squares(),
        twin_tetrahedra(),
        equal_up_to_three_tensors(),
        mirror_images(),
        same_distances(),
        same_angles(),
        same_tetrahedra_chiral(),
        same_tetrahedra(),
    )
    return {pair.name: pair for pair in pairs}


def several_preimages() -> Float[np.ndarray, "points components"]:
    """E4: moments (s, v, Q, T) with the same values of hop13: the same v and Q, two different T.

    Components in the order of `jorbit.basis.moments`; the second T is accurate to 12 digits.
    """
    first = (0.5, 0.3, -0.2, 0.1, 0.4, -0.6, 0.2)
    second = (0.286684313618, 0.402143550834, -0.310201910816, 0.149273848807)
    second = (*second, 0.441350530247, 0.007758537299, 0.313093199216)
    shared = (1.0, 0.6, 0.5, 0.4, 1.0, 0.0, 0.0, -0.3, 0.0)
    return np.array([(*shared, *first), (*shared, *second)])


def equidistant_environment(n_neighbors: int = 8, radius: float = 1.5, seed: int = 0) -> Structure:
    """E6: neighbours in random directions at one distance.

    The trace of their second moment equals radius^2 times their number: invariants of moments that are not trace-free
    repeat each other here, and a set of them loses rank.
    """
    directions = np.random.default_rng(seed).normal(size=(n_neighbors, 3))
    return _environment(radius * directions / np.linalg.norm(directions, axis=1, keepdims=True))
