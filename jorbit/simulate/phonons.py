"""Phonons of crystals: exact force constants of a supercell, bands, density of states, heat capacity."""

import dataclasses
import itertools

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from ase.cell import Cell
from jaxtyping import Complex, Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN
from jorbit.potential.derivatives import hessian_vector_product
from jorbit.potential.potential import Potential
from jorbit.simulate.vibrations import PLANCK_CM, TO_WAVE_NUMBERS

TERAHERTZ = 1.0 / 33.35640952  # per 1/cm


@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along a path through the Brillouin zone.

    Attributes:
        points: fractional coordinates of reciprocal vectors.
        distances: along the path, 1/Å.
        frequencies: THz; imaginary ones are negative.
        labels: (distance, name) of the special points.
    """

    points: Float[np.ndarray, "points 3"]
    distances: Float[np.ndarray, " points"]
    frequencies: Float[np.ndarray, "points modes"]
    labels: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Phonons:
    """Force constants of a crystal.

    Attributes:
        structure: the primitive cell.
        constants: between the atoms of one cell and those of the supercell, eV/Å^2.
        vectors: lattice vectors of the shortest images for each pair (several where images are equally far), as whole
            numbers; equal weights. One list per pair (i, J).
        repeats: of the supercell.
        masses: amu; None: those of the elements.
    """

    structure: Structure
    constants: Float[np.ndarray, "atoms 3 all 3"]
    vectors: tuple[tuple[np.ndarray, ...], ...]
    repeats: tuple[int, int, int]
    masses: Float[np.ndarray, " atoms"] | None = None

    def dynamical_matrix(self, q: Float[np.ndarray, "3"]) -> Complex[np.ndarray, "modes modes"]:
        """D(q), eV/(Å^2 amu); q in fractions of the reciprocal vectors."""
        n = self.structure.n_atoms
        masses = ase.data.atomic_masses[self.structure.numbers] if self.masses is None else self.masses
        matrix = np.zeros((n, 3, n, 3), complex)
        for i in range(n):
            for j in range(self.constants.shape[2]):
                phase = np.exp(2j * np.pi * self.vectors[i][j] @ np.asarray(q)).mean()
                matrix[i, :, j % n, :] += self.constants[i, :, j, :] * phase
        root = np.sqrt(np.repeat(masses, 3))
        flat = matrix.reshape(3 * n, 3 * n) / np.outer(root, root)
        return 0.5 * (flat + flat.conj().T)

    def frequencies(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points modes"]:
        """THz, ascending at each point; imaginary ones are negative."""
        squares = np.array([np.linalg.eigvalsh(self.dynamical_matrix(q)) for q in points])
        return np.sign(squares) * np.sqrt(np.abs(squares)) * TO_WAVE_NUMBERS * TERAHERTZ

    def bands(self, path: str | None = None, n_points: int = 100) -> Bands:
        """Along a path such as "GXWKGL"; that of the lattice when not given."""
        special = Cell(self.structure.cell).bandpath(path, npoints=n_points)
        x, at, names = special.get_linear_kpoint_axis()
        labels = tuple((float(d), name) for d, name in zip(at, names, strict=True))
        return Bands(special.kpts, np.asarray(x), self.frequencies(special.kpts), labels)

    def density_of_states(
        self, mesh: int = 12, n_bins: int = 200, width: float = 0.1
    ) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
        """(frequencies in THz, states per THz and cell), broadened by Gaussians of `width` THz."""
        found = self._on_mesh(mesh)
        grid = np.linspace(min(0.0, found.min()) - 3 * width, found.max() + 3 * width, n_bins)
        weights = np.exp(-0.5 * ((grid[:, None] - found.ravel()) / width) ** 2) / (np.sqrt(2 * np.pi) * width)
        return grid, weights.sum(axis=1) / len(found)

    def heat_capacity(self, temperature: float, mesh: int = 12) -> float:
        """Of one cell at constant volume, eV/K; 3 k per atom when it is hot. Imaginary modes count for nothing.

        Raises:
            ConfigError: a temperature below 0 K.
        """
        if not temperature >= 0:
            raise ConfigError(f"Wanted a temperature of 0 K or more, got {temperature}.")
        if temperature == 0:
            return 0.0
        found = self._on_mesh(mesh)
        x = PLANCK_CM * found[found > 1e-3] / TERAHERTZ / (BOLTZMANN * temperature)
        return float(BOLTZMANN * (x**2 * np.exp(-x) / np.expm1(-x) ** 2).sum() / len(found))

    def _on_mesh(self, mesh: int) -> Float[np.ndarray, "points modes"]:
        axis = (np.arange(mesh) + 0.5) / mesh - 0.5
        return self.frequencies(np.array(list(itertools.product(axis, axis, axis))))


def phonons(
    potential: Potential, params: Params, structure: Structure, *, repeats: tuple[int, int, int] = (3, 3, 3)
) -> Phonons:
    """Force constants of a relaxed crystal, from Hessian-vector products in a supercell: nothing is displaced.

    Exact once half the width of the supercell is beyond the reach of the forces. The sum over the supercell of what one
    atom feels is zero by construction (translations cost nothing), so acoustic bands begin at zero.

    Args:
        potential: sum of terms; long-range terms are treated as if their forces ended in the supercell.
        params: its parameters.
        structure: the primitive cell, relaxed.
        repeats: of the supercell.

    Raises:
        ConfigError: no full cell.
    """
    if not np.all(structure.pbc):
        raise ConfigError("Phonons need a cell that repeats in all three directions; see vibrations() for molecules.")
    structure = potential.labelled([structure.check()])[0]
    n, cells = structure.n_atoms, np.array(list(itertools.product(*[range(m) for m in repeats])))
    positions = (structure.positions[None] + (cells @ structure.cell)[:, None]).reshape(-1, 3)
    orbits = None if structure.orbits is None else np.tile(structure.orbits, len(cells))
    whole = Structure(
        positions=positions,
        numbers=np.tile(structure.numbers, len(cells)),
        cell=structure.cell * np.array(repeats)[:, None],
        pbc=structure.pbc,
        orbits=orbits,
    )
    with jax.enable_x64(True):
        graph = potential.graph(whole, dtype="float64")
        found = np.asarray(_constants(potential, params, graph, n))[:, :, : len(positions)]
    return phonons_of(structure, found.reshape(n, 3, -1, 3), repeats)


def phonons_of(
    structure: Structure,
    constants: Float[np.ndarray, "atoms 3 all 3"],
    repeats: tuple[int, int, int],
    masses: Float[np.ndarray, " atoms"] | None = None,
) -> Phonons:
    """Phonons of given force constants.

    Args:
        structure: the primitive cell.
        constants: between its atoms and those of the supercell (cell by cell, the last direction fastest), eV/Å^2.
        repeats: of the supercell.
        masses: amu; those of the elements when not given.
    """
    cells = np.array(list(np.ndindex(*repeats)))
    return Phonons(structure, constants, _shortest(structure, cells, repeats), repeats, masses)


def _rows(potential: Potential, params: Params, graph: Graph, n: int) -> jax.Array:
    def row(k: jax.Array) -> jax.Array:
        vector = jnp.zeros(graph.positions.size, graph.positions.dtype).at[k].set(1.0)
        return hessian_vector_product(potential, params, graph, vector.reshape(-1, 3))

    rows = jax.lax.map(row, jnp.arange(3 * n))
    return rows.reshape(n, 3, graph.n_atoms, 3)


_constants = jax.jit(_rows, static_argnums=(0, 3))


def _shortest(
    structure: Structure, cells: np.ndarray, repeats: tuple[int, int, int]
) -> tuple[tuple[np.ndarray, ...], ...]:
    """For atom i of the first cell and atom J of the supercell: the lattice vectors of J's images nearest to i."""
    repeated = structure.cell * np.array(repeats)[:, None]
    inverse = np.linalg.inv(repeated)
    # From the image that rounding finds, the nearest is at most half the sum of the vectors away.
    reach = 0.5 * np.linalg.norm(repeated, axis=1).sum() * np.linalg.norm(inverse, axis=0)
    around = np.array(list(itertools.product(*(range(-int(m + 0.5), int(m + 0.5) + 1) for m in reach))))
    found = []
    for i in range(structure.n_atoms):
        row = []
        for cell in cells:
            for j in range(structure.n_atoms):
                apart = cell @ structure.cell + structure.positions[j] - structure.positions[i]
                whole = (around - np.round(apart @ inverse).astype(int)) * np.array(repeats) + cell
                d = np.linalg.norm(whole @ structure.cell + structure.positions[j] - structure.positions[i], axis=1)
                row.append(whole[d < d.min() + 1e-4])
        found.append(tuple(row))
    return tuple(found)
