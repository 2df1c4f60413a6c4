"""Vectors for orbits from vectors for elements: replace, add, factored. Arrays and pure functions, no network library.

Each mode is a frozen dataclass that makes a table [labels, features] out of its parameters: a model embeds an atom by
gathering one row, `table(params)[graph.species]`. `warm_start` takes a table [elements, features] of a model without
orbits and gives parameters whose table repeats the element's row for each of its orbits: the finer model starts exactly
where the coarser one ended.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError, UnknownSpeciesError
from jorbit.core.protocols import Params
from jorbit.core.species import SYMBOLS, SpeciesTable


def parent_rows(fine: SpeciesTable, coarse: SpeciesTable | None = None) -> Int[np.ndarray, " labels"]:
    """Row of a coarser table that each row of a finer one belongs to.

    Args:
        fine: rows (element, orbit).
        coarse: the same rows, or one row per element; None = one row per element of `fine`.

    Raises:
        UnknownSpeciesError: an element without a row in `coarse`, or with several that are not those of `fine`.

    Example:
        >>> parent_rows(SpeciesTable(((1, 0), (1, 1), (8, 0)))).tolist()
        [0, 0, 1]
    """
    coarse = SpeciesTable.from_numbers(fine.numbers) if coarse is None else coarse
    exact = {row: k for k, row in enumerate(coarse.rows)}
    several = {z for z in coarse.numbers if coarse.numbers.count(z) > 1}
    whole = {z: k for k, (z, _) in enumerate(coarse.rows) if z not in several}
    parents = []
    for number, orbit in fine.rows:
        parent = whole.get(number, exact.get((number, orbit)))
        if parent is None:
            what = f"orbit {orbit} of {SYMBOLS[number]}" if number in several else SYMBOLS[number]
            raise UnknownSpeciesError(
                f"The coarser table ({', '.join(coarse.names)}) has no row for {what}. Warm starts go from elements to "
                "orbits of the same elements."
            )
        parents.append(parent)
    return np.array(parents, dtype=np.int32)


def _normal(key: Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> Array:
    """Rows of about unit length."""
    return jax.random.normal(key, shape, dtype) / math.sqrt(shape[1])


def _checked(parents: tuple[int, ...], n_features: int) -> int:
    """Number of elements; every element from 0 on must have a label."""
    if not parents or sorted(set(parents)) != list(range(max(parents) + 1)) or n_features < 1:
        raise ConfigError(
            f"Wanted the element row 0, 1, ... of every label and n_features >= 1, got parents {parents} and "
            f"{n_features} features. `parent_rows` gives them."
        )
    return max(parents) + 1


def _own_rows(elements: np.ndarray | Array, shape: tuple[int, int]) -> np.ndarray | Array:
    if tuple(elements.shape) != shape:
        raise ConfigError(f"Wanted a table [elements, features] = {list(shape)}, got {list(elements.shape)}.")
    return elements


@dataclasses.dataclass(frozen=True)
class Replace:
    """W[label]: every orbit has a vector of its own.

    Attributes:
        parents: element row of each label.
        n_features: length of the vectors.

    Example:
        >>> Replace(parents=(0, 0, 1), n_features=4).n_parameters
        12
    """

    parents: tuple[int, ...]
    n_features: int

    @property
    def n_elements(self) -> int:
        return _checked(self.parents, self.n_features)

    @property
    def n_parameters(self) -> int:
        return len(self.parents) * self.n_features

    def init(self, key: Array, dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
        return self.warm_start(_normal(key, (self.n_elements, self.n_features), dtype))

    def table(self, params: Params) -> Float[Array, "labels features"]:
        return jnp.asarray(params["labels"])

    def warm_start(self, elements: Float[np.ndarray | Array, "elements features"]) -> Params:
        """Parameters whose table repeats the rows of a model without orbits."""
        rows = _own_rows(elements, (self.n_elements, self.n_features))
        return {"labels": rows[np.array(self.parents)]}


@dataclasses.dataclass(frozen=True)
class Add:
    """W_element[element(label)] + e[label]: the orbit is a correction to the element, zero at the start.

    Attributes:
        parents: element row of each label.
        n_features: length of the vectors.

    Example:
        >>> Add(parents=(0, 0, 1), n_features=4).n_parameters
        20
    """

    parents: tuple[int, ...]
    n_features: int

    @property
    def n_elements(self) -> int:
        return _checked(self.parents, self.n_features)

    @property
    def n_parameters(self) -> int:
        return (self.n_elements + len(self.parents)) * self.n_features

    def init(self, key: Array, dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
        return self.warm_start(_normal(key, (self.n_elements, self.n_features), dtype))

    def table(self, params: Params) -> Float[Array, "labels features"]:
        elements, labels = jnp.asarray(params["elements"]), jnp.asarray(params["labels"])
        return elements[np.array(self.parents)] + labels

    def warm_start(self, elements: Float[np.ndarray | Array, "elements features"]) -> Params:
        """Parameters whose table repeats the rows of a model without orbits."""
        rows = _own_rows(elements, (self.n_elements, self.n_features))
        return {"elements": rows, "labels": np.zeros((len(self.parents), self.n_features), rows.dtype)}


@dataclasses.dataclass(frozen=True)
class Factored:
    """W_element[element(label)] + A[label] B: corrections in a space of few directions, for many orbits.

    A starts at zero and B does not, so that the first gradient reaches A.

    Attributes:
        parents: element row of each label.
        n_features: length of the vectors.
        rank: columns of A.

    Example:
        >>> Factored(parents=(0, 0, 1), n_features=4, rank=1).n_parameters
        15
    """

    parents: tuple[int, ...]
    n_features: int
    rank: int = 4

    @property
    def n_elements(self) -> int:
        if self.rank < 1:
            raise ConfigError(f"Wanted a rank of 1 or more, got {self.rank}.")
        return _checked(self.parents, self.n_features)

    @property
    def n_parameters(self) -> int:
        n_labels = len(self.parents)
        return self.n_elements * self.n_features + self.rank * (n_labels + self.n_features)

    def init(self, key: Array, dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
        own, directions = jax.random.split(key)
        return self.warm_start(_normal(own, (self.n_elements, self.n_features), dtype), directions)

    def table(self, params: Params) -> Float[Array, "labels features"]:
        elements = jnp.asarray(params["elements"])[np.array(self.parents)]
        correction = jnp.matmul(jnp.asarray(params["labels"]), jnp.asarray(params["directions"]), precision="highest")
        return elements + correction

    def warm_start(self, elements: Float[np.ndarray | Array, "elements features"], key: Array | None = None) -> Params:
        """Parameters whose table repeats the rows of a model without orbits; B is drawn with `key`, or a fixed one."""
        rows = _own_rows(elements, (self.n_elements, self.n_features))
        key = jax.random.key(0) if key is None else key
        directions = _normal(key, (self.rank, self.n_features), rows.dtype)
        labels = np.zeros((len(self.parents), self.rank), rows.dtype)
        return {"elements": rows, "labels": labels, "directions": directions}


LabelEmbedding = Replace | Add | Factored
LABEL_MODES = {"replace": Replace, "add": Add, "factored": Factored}


def label_embedding(
    mode: str, parents: Sequence[int] | Int[np.ndarray, " labels"], n_features: int, **options: int
) -> LabelEmbedding:
    """An embedding by the name of its mode.

    Args:
        mode: "replace", "add" or "factored".
        parents: element row of each label, from `parent_rows`.
        n_features: length of the vectors.
        options: `rank` for "factored".

    Raises:
        ConfigError: an unknown mode, or an option that it does not take.

    Example:
        >>> label_embedding("factored", [0, 0, 1], 8, rank=2).rank
        2
    """
    if mode not in LABEL_MODES:
        raise ConfigError(f"There is no label mode {mode!r}. Known: {', '.join(LABEL_MODES)}.")
    try:
        return LABEL_MODES[mode](tuple(int(p) for p in parents), n_features, **options)
    except TypeError as error:
        raise ConfigError(f"The label mode {mode!r} does not take {sorted(options)}.") from error
