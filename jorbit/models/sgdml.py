"""Symmetric gradient-domain machine learning: one molecule (or one periodic cell of it), learned from its forces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.inverse_distances import (
    inverse_distance_gradients,
    inverse_distances,
    nearest_images,
    pair_differences,
    sum_pairs,
)
from jorbit.basis.matern import energies_and_gradients, symmetric_energies
from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure
from jorbit.orbits.lattice import Lattice, displacements, make_lattice

MIN_DISTANCE = 1e-3  # Å, as in the neighbour search
MAX_STRAIN = 0.1  # of the cell against the one that was trained on: images are chosen for the latter
Cell = tuple[tuple[float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class SGDML:
    """E(r) = c + s E~(x(r)): a kernel model of all inverse distances x = 1/r_ij of one molecule.

    E~ is the sum over training points b and permutations p of first derivatives of the Matérn 5/2 kernel, weighted so
    that its forces are those of the training frames (`jorbit.basis.matern.energies_and_gradients`). The atoms must be
    those of the training frames in the same order. The energy belongs to the whole: every atom is given an equal share.
    Weights of 1e8 cancel, so everything is computed in float64, and float32 is refused.

    Attributes:
        numbers: atomic numbers, in order.
        cell: lattice vectors as rows, Å, of the training frames; None without.
        pbc: which of them repeat.
        images: "exact" takes the nearest periodic image of each pair. "round" rounds fractional coordinates, which is
            not the nearest in skewed cells: to reproduce models that were made so.

    Example:
        >>> SGDML(numbers=(8, 1, 1)).n_pairs
        3

    References:
        Chmiela, Sauceda, Müller, Tkatchenko, Nat. Commun. 9, 3887 (2018).
    """

    numbers: tuple[int, ...]
    cell: Cell | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    images: str = "exact"

    @classmethod
    def tiny(cls, n_species: int = 2) -> "SGDML":
        return cls(numbers=(8, 1, 1))

    @classmethod
    def of(cls, structure: Structure, images: str = "exact") -> "SGDML":
        """The model of a system: its atoms in their order, and its cell."""
        pbc, cell = tuple(bool(p) for p in structure.pbc), None
        if any(pbc):
            rows = np.where(np.array(pbc)[:, None], np.asarray(structure.cell, dtype=np.float64), 0.0)
            cell = tuple((float(a), float(b), float(c)) for a, b, c in rows)
        numbers = tuple(int(z) for z in structure.numbers)
        return cls(numbers=numbers, cell=cell, pbc=(pbc[0], pbc[1], pbc[2]), images=images)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_pairs(self) -> int:
        """Length of the descriptor."""
        return self.n_atoms * (self.n_atoms - 1) // 2

    @property
    def needs(self) -> Needs:
        return Needs(float64=True, layers=None)

    @property
    def is_periodic(self) -> bool:
        return any(self.pbc)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Two training points near the graph's first structure, of weight 0: an unfitted model predicts nothing."""
        x = self.descriptors(graph)[:1]
        noise = 1.0 + 0.1 * jax.random.normal(key, (2, self.n_pairs), x.dtype)
        zeros = jnp.zeros((2, self.n_pairs), x.dtype)
        one = jnp.ones((), x.dtype)
        identity = jnp.arange(self.n_atoms, dtype=jnp.int32)[None]
        return {
            "points": x * (noise - 1.0),
            "center": x[0],
            "weights": zeros,
            "permutations": identity,
            "sigma": one,
            "scale": one,
            "constant": 0.0 * one,
        }

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if graph.positions.dtype != jnp.float64:
            raise ConfigError(
                f"sGDML computes in float64 (its weights cancel in nine digits), and the positions are "
                f'{graph.positions.dtype}. Wrap the call in `with jax.enable_x64(True):`, or ask for dtype="float64".'
            )
        energy = symmetric_energies(
            self.descriptors(graph),
            params["points"],
            params["weights"],
            params["center"],
            params["permutations"],
            params["sigma"],
            params.get("energy_weights"),
        )
        known = jnp.where(self._fits(graph), 1.0, jnp.nan)
        energy = known * (params["constant"] + params["scale"] * energy) / self.n_atoms
        padded = jnp.zeros(graph.n_atoms, energy.dtype)
        shares = jnp.broadcast_to(energy[:, None], (len(energy), self.n_atoms)).reshape(-1)
        return AtomOutputs(energy=jnp.where(graph.atom_mask, padded.at[: len(shares)].set(shares), 0.0))

    def descriptors(self, graph: Graph) -> Float[Array, "molecules pairs"]:
        """1/r of all pairs of each structure that the graph has room for; zeros on padding."""
        n = min(graph.n_structures, graph.n_atoms // self.n_atoms)
        positions = graph.positions[: n * self.n_atoms].reshape(n, self.n_atoms, 3)
        return self.descriptors_of(positions, graph.cell[:n])

    def descriptors_of(
        self, positions: Float[Array, "molecules atoms 3"], cells: Float[Array, "molecules 3 3"] | None = None
    ) -> Float[Array, "molecules pairs"]:
        """1/r of all pairs, 1/Å."""
        return inverse_distances(self.pair_vectors(positions, cells))

    def pair_vectors(
        self, positions: Float[Array, "molecules atoms 3"], cells: Float[Array, "molecules 3 3"] | None = None
    ) -> Float[Array, "molecules pairs 3"]:
        """r_i - r_j of all pairs, nearest images in periodic systems; Å.

        Args:
            positions: Å.
            cells: one for each molecule, or None: that of the training frames.
        """
        vectors = pair_differences(positions)
        if not self.is_periodic:
            return vectors
        reduction, images = _reduction(self.cell, self.pbc, self.images)
        own = jnp.asarray(np.asarray(self.cell), positions.dtype)
        if cells is None:
            return nearest_images(vectors, jnp.asarray(reduction, positions.dtype) @ own, images)
        present = jnp.any(cells != 0, axis=(1, 2), keepdims=True)
        rows = jnp.einsum("px,mxy->mpy", jnp.asarray(reduction, positions.dtype), jnp.where(present, cells, own[None]))
        return jax.vmap(lambda v, c: nearest_images(v, c, images))(vectors, rows)

    def _fits(self, graph: Graph) -> Array:
        """Which structures of the graph have the right atoms, or none (padding).

        Others become NaN: nothing can be raised where a graph is compiled.
        """
        n = min(graph.n_structures, graph.n_atoms // self.n_atoms)
        here = slice(0, n * self.n_atoms)
        owner = graph.owner[here].reshape(n, self.n_atoms) == jnp.arange(n, dtype=jnp.int32)[:, None]
        numbers = graph.numbers[here].reshape(n, self.n_atoms) == jnp.asarray(self.numbers, jnp.int32)[None]
        count = jnp.zeros(graph.n_structures, jnp.int32).at[graph.owner].add(graph.atom_mask.astype(jnp.int32))
        return (jnp.all(owner & numbers, axis=1) & (count[:n] == self.n_atoms)) | (count[:n] == 0)

    def check_structure(self, structure: Structure) -> None:
        """Raise if this model says nothing about a structure.

        Raises:
            StructureError: other atoms, another order, two atoms at one place, other periodic directions or a cell that
                is not the one of the training frames.
        """
        structure.check()
        wanted, numbers = np.array(self.numbers), np.asarray(structure.numbers)
        if not np.array_equal(wanted, numbers):
            same = np.array_equal(np.sort(wanted), np.sort(numbers))
            what = "the same atoms in another order" if same else f"{_formula(numbers)} ({len(numbers)} atoms)"
            todo = (
                "Put them in that order." if same else "Use a model of that molecule, or one made of atomic energies."
            )
            raise StructureError(
                f"This sGDML model is for {_formula(wanted)} with the atoms in the order of its training frames "
                f"({' '.join(SYMBOLS[z] for z in wanted[:12])}{' ...' if len(wanted) > 12 else ''}), and the structure "
                f"holds {what}. {todo}"
            )
        if self.is_periodic:
            self._check_cell(structure)
        distances = np.linalg.norm(self._host_vectors(structure), axis=-1)
        if distances.min(initial=np.inf) < MIN_DISTANCE:
            i, j = (p[int(distances.argmin())] for p in np.tril_indices(self.n_atoms, -1))
            raise StructureError(
                f"Atoms {j} and {i} are at one place ({distances.min():.2g} Å apart). Remove the copy; or was a length "
                "given in the wrong unit?"
            )

    def _host_vectors(self, structure: Structure) -> np.ndarray:
        i, j = np.tril_indices(self.n_atoms, -1)
        r = np.asarray(structure.positions, dtype=np.float64)
        return displacements(r[i] - r[j], _lattice(self.cell, self.pbc)) if self.is_periodic else r[i] - r[j]

    def _check_cell(self, structure: Structure) -> None:
        pbc = tuple(bool(p) for p in structure.pbc)
        if pbc != self.pbc:
            raise StructureError(
                f"This sGDML model was trained on frames that repeat along {list(self.pbc)}, and the structure repeats "
                f"along {list(pbc)}: wanted the same periodic directions (pbc)."
            )
        chosen = np.array(self.pbc)
        mine, theirs = np.array(self.cell)[chosen], np.asarray(structure.cell, dtype=np.float64)[chosen]
        metric, other = mine @ mine.T, theirs @ theirs.T
        lengths = np.sqrt(np.diagonal(metric))
        if (np.abs(other - metric) > 2 * MAX_STRAIN * np.outer(lengths, lengths)).any():
            raise StructureError(
                f"This sGDML model was trained in the cell {mine.round(4).tolist()} Å and knows no other, and the "
                f"structure's is {theirs.round(4).tolist()}. Train on frames of this cell."
            )


def _formula(numbers: Int[np.ndarray, " atoms"]) -> str:
    symbols, counts = np.unique([SYMBOLS[z] for z in numbers], return_counts=True)
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in zip(symbols, counts, strict=True))


@functools.lru_cache(maxsize=16)
def _lattice(cell: Cell, pbc: tuple[bool, bool, bool]) -> Lattice:
    return make_lattice(np.array(cell, dtype=np.float64), np.array(pbc))


@functools.lru_cache(maxsize=16)
def _reduction(
    cell: Cell, pbc: tuple[bool, bool, bool], images: str
) -> tuple[Int[np.ndarray, "periodic 3"], Int[np.ndarray, "images periodic"]]:
    """Reduced lattice vectors as whole numbers of those of the cell, and the images that can be nearer than rounding.

    All neighbours of the rounded image are kept, so that the image is the nearest in a strained cell too.
    """
    chosen = np.array(pbc)
    if images == "round":
        if not chosen.all():
            raise ConfigError('images="round" needs a cell that repeats in three directions; use images="exact".')
        return np.eye(3, dtype=np.int32), np.zeros((0, 3), np.int32)
    if images != "exact":
        raise ConfigError(f'images must be "exact" or "round", got {images!r}.')
    lattice = _lattice(cell, pbc)
    reduced, given = lattice.vectors[: lattice.n_periodic], np.array(cell, dtype=np.float64)[chosen]
    steps = np.zeros((lattice.n_periodic, 3), np.int32)
    steps[:, chosen] = np.round(reduced @ np.linalg.pinv(given)).astype(np.int32)
    offsets = np.stack(np.meshgrid(*[(-1, 0, 1)] * len(reduced), indexing="ij"), axis=-1).reshape(-1, len(reduced))
    return steps, offsets[np.any(offsets != 0, axis=1)].astype(np.int32)


def predict_geometries(
    term: SGDML, params: Params, positions: Float[np.ndarray, "geometries atoms 3"]
) -> tuple[Float[np.ndarray, " geometries"], Float[np.ndarray, "geometries atoms 3"]]:
    """Energies (eV) and forces (eV/Å) of many geometries of the system of a model: the shortest way to them.

    Compiled once for each number of atoms, points, permutations and geometries, whatever the molecule.

    Args:
        term, params: of the model; the entry "sgdml" of a potential's parameters.
        positions: Å, atoms in the order of the model, in its cell if it has one. Not checked.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")[:12]
        >>> model = jorbit.fit_sgdml(frames[:8], sigma=20.0, permutations="none")
        >>> term, params = model.potential.terms[0], model.params["sgdml"]
        >>> energies, forces = predict_geometries(term, params, np.stack([f.structure.positions for f in frames]))
        >>> energies.shape, forces.shape
        ((12,), (12, 9, 3))
    """
    rows, images = None, ()
    if term.is_periodic:
        steps, offsets = _reduction(term.cell, term.pbc, term.images)
        rows, images = steps @ np.asarray(term.cell), tuple(map(tuple, offsets.tolist()))
    with jax.enable_x64(True):
        energies, forces = _predict(images, params, np.asarray(positions, np.float64), rows)
        return np.asarray(energies), np.asarray(forces)


def _energies_and_forces(
    images: tuple[tuple[int, ...], ...],
    params: Params,
    positions: Float[Array, "geometries atoms 3"],
    rows: Float[Array, "periodic 3"] | None,
) -> tuple[Array, Array]:
    vectors = pair_differences(positions)
    if rows is not None:
        vectors = nearest_images(vectors, rows, np.array(images, np.int32).reshape(-1, rows.shape[0]))
    x, g = inverse_distance_gradients(vectors)
    energy, gradient = energies_and_gradients(
        x,
        params["points"],
        params["weights"],
        params["center"],
        params["permutations"],
        params["sigma"],
        params.get("energy_weights"),
    )
    forces = sum_pairs(g * gradient[:, :, None], positions.shape[1])
    return params["constant"] + params["scale"] * energy, params["scale"] * forces


_predict = counted_jit(_energies_and_forces, "sgdml predictions", static_argnums=0)
