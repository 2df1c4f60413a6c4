"""Full contractions of moment tensors as graphs: enumeration up to isomorphism, and evaluation as written.

A vertex is a moment of degree l with l legs, an edge joins two legs (a summed index). A trace-free tensor contracted
with itself vanishes, so there are no loops. A disconnected graph is a product of two invariants; it is left out.
"""

import dataclasses
import functools
import itertools
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.moments import LETTERS, degree_slice, stf_tensor
from jorbit.core.errors import ConfigError

Labels = tuple[str, ...]  # one string of index letters per tensor


@dataclasses.dataclass(frozen=True)
class Contraction:
    """One invariant: a connected multigraph without loops.

    Attributes:
        degrees: l of each tensor, ascending.
        edges: pairs of tensors (a, b) with a < b, ascending; a pair stands as often as indices are summed between them.

    Example:
        >>> Contraction.parse("i,ij,j").formula()
        'v_i v_j Q_ij'
    """

    degrees: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> "Contraction":
        """The canonical graph of index strings such as "i,ij,j" (v_i Q_ij v_j); the empty string is the scalar s.

        Raises:
            ConfigError: an index that does not join two different tensors.
        """
        tensors = text.split(",")
        edges = []
        for letter in sorted(set(text) - {","}):
            ends = [k for k, t in enumerate(tensors) for _ in range(t.count(letter))]
            if len(ends) != 2 or ends[0] == ends[1]:
                raise ConfigError(f"Index {letter!r} of the contraction {text!r} must stand at two different tensors.")
            edges.append((ends[0], ends[1]))
        return canonical(tuple(len(t) for t in tensors), tuple(edges))

    @property
    def order(self) -> int:
        """n, the number of tensors; the body order is n + 1."""
        return len(self.degrees)

    @property
    def l_max(self) -> int:
        return max(self.degrees)

    def labels(self) -> Labels:
        """Index letters of each tensor, for einsum."""
        found = ["" for _ in self.degrees]
        for letter, (a, b) in zip(string.ascii_letters, self.edges, strict=False):
            found[a] += letter
            found[b] += letter
        return tuple(found)

    def formula(self) -> str:
        """Readable: s v Q T D with their indices, from i on."""
        names = str.maketrans(string.ascii_letters, string.ascii_letters[8:] + string.ascii_letters[:8])
        words = [
            LETTERS[l] + (f"_{t.translate(names)}" if t else "")
            for l, t in zip(self.degrees, self.labels(), strict=True)
        ]
        return " ".join(words)


def canonical(degrees: Sequence[int], edges: Sequence[tuple[int, int]]) -> Contraction:
    """The one representative of all graphs that differ only in the numbering of their vertices.

    Vertices are sorted by degree, then by what they see of the graph (refined colours); among the numberings that this
    leaves, the one with the largest table of edges is taken.
    """
    n = len(degrees)
    matrix = np.zeros((n, n), dtype=np.int64)
    for a, b in edges:
        matrix[a, b] += 1
        matrix[b, a] += 1
    colors = list(degrees)
    for _ in range(n):
        seen = [(colors[k], sorted((colors[j], int(matrix[k, j])) for j in range(n) if matrix[k, j])) for k in range(n)]
        ranks = sorted(seen)
        colors = [ranks.index(one) for one in seen]
    order = sorted(range(n), key=lambda k: colors[k])
    matrix = matrix[np.ix_(order, order)]
    upper = np.triu_indices(n, 1)
    best = max(tuple(matrix[p][:, p][upper].tolist()) for p in _renumberings(tuple(sorted(colors))))
    return _from_triangle(tuple(degrees[k] for k in order), best)


def _from_triangle(degrees: tuple[int, ...], triangle: Sequence[int]) -> Contraction:
    pairs = itertools.combinations(range(len(degrees)), 2)
    edges = tuple(pair for pair, count in zip(pairs, triangle, strict=True) for _ in range(int(count)))
    return Contraction(degrees=degrees, edges=edges)


def _renumberings(colors: tuple[int, ...]) -> list[list[int]]:
    """Permutations of the vertices that keep the (ascending) colours in place."""
    groups = [[k for k, one in enumerate(colors) if one == color] for color in sorted(set(colors))]
    return [list(itertools.chain(*parts)) for parts in itertools.product(*(itertools.permutations(g) for g in groups))]


@functools.cache
def enumerate_contractions(n_max: int, l_max: int) -> tuple[Contraction, ...]:
    """All connected loopless contraction graphs of up to n_max tensors of degree up to l_max, up to isomorphism.

    Ordered by the number of tensors, then the sum of their degrees. The scalar s comes first.

    Args:
        n_max: most tensors in a product.
        l_max: highest degree.

    Example:
        >>> [len(enumerate_contractions(n, 3)) for n in (2, 3, 4)]
        [4, 8, 20]
    """
    if n_max < 1 or l_max < 0:
        raise ConfigError(f"Wanted n_max >= 1 and l_max >= 0, got {n_max} and {l_max}.")
    found = [Contraction(degrees=(0,), edges=())]
    for n in range(2, n_max + 1):
        sequences = itertools.combinations_with_replacement(range(1, l_max + 1), n)
        for degrees in sorted((d for d in sequences if sum(d) % 2 == 0), key=lambda d: (sum(d), d)):
            found += _graphs(degrees)
    return tuple(found)


def _graphs(degrees: tuple[int, ...]) -> list[Contraction]:
    """One graph per class: the one whose table of edges is largest among its renumberings."""
    triangles = np.array(list(_tables(degrees)), dtype=np.int64)
    if not len(triangles):
        return []
    n = len(degrees)
    pairs = {pair: k for k, pair in enumerate(itertools.combinations(range(n), 2))}
    weights = (max(degrees) + 1) ** np.arange(len(pairs))[::-1]
    codes = triangles @ weights
    largest = np.ones(len(codes), dtype=bool)
    for p in _renumberings(degrees):
        columns = [pairs[min(p[a], p[b]), max(p[a], p[b])] for a, b in pairs]
        largest &= triangles[:, columns] @ weights <= codes
    chosen = triangles[largest][np.argsort(-codes[largest])].tolist()
    found = [_from_triangle(degrees, t) for t in chosen if _connected(n, t)]
    return [canonical(one.degrees, one.edges) for one in found]


def _tables(degrees: tuple[int, ...]) -> Any:
    """Upper triangles of the symmetric tables of edge counts whose rows add up to the degrees."""
    if len(degrees) == 1:
        if degrees[0] == 0:
            yield ()
        return
    for row in itertools.product(*(range(min(degrees[0], d) + 1) for d in degrees[1:])):
        if sum(row) == degrees[0]:
            for rest in _tables(tuple(d - k for d, k in zip(degrees[1:], row, strict=True))):
                yield (*row, *rest)


def _connected(n: int, triangle: Sequence[int]) -> bool:
    reached, edges = {0}, [pair for pair, k in zip(itertools.combinations(range(n), 2), triangle, strict=True) if k]
    for _ in range(n):
        reached |= {v for pair in edges if reached & set(pair) for v in pair}
    return len(reached) == n


def contract(
    operands: Sequence[Any], labels: Labels, output: str, product: Callable[[str, Any, Any], Any] = jnp.einsum
) -> Any:
    """Sum over all indices that are not in `output`, two tensors at a time, smallest intermediate first.

    Args:
        operands: arrays with the axes of `labels`, after any leading batch axes.
        labels: index letters per operand, each letter at most twice.
        output: letters that remain, in order.
        product: multiplies two operands, `product("...ab,...bc->...ac", x, y)`.

    Returns:
        The array with the batch axes and the axes of `output`.
    """
    left = list(zip(labels, operands, strict=True))
    while len(left) > 1:
        a, b = min(itertools.combinations(range(len(left)), 2), key=lambda p: _cost(left[p[0]][0], left[p[1]][0]))
        (one, x), (two, y) = left[a], left[b]
        last = len(left) == 2
        kept = output if last else "".join(sorted(set(one) ^ set(two)))
        merged = (kept, product(f"...{one},...{two}->...{kept}", x, y))
        left = [merged, *(t for k, t in enumerate(left) if k not in (a, b))]
    return left[0][1]


def _cost(one: str, two: str) -> tuple[int, int, str, str]:
    """Unconnected tensors last; then the fewest open indices, then the fewest operations."""
    shared = set(one) & set(two)
    return (len(set(one) ^ set(two)) + 100 * (not shared), len(set(one) | set(two)), one, two)


def evaluate(
    contractions: Sequence[Contraction], moments: Float[Array, "*batch components"]
) -> Float[Array, "*batch invariants"]:
    """Each contraction as it is written, an einsum of full tensors: slow, and the definition of what is meant.

    Args:
        contractions: graphs.
        moments: independent components of l = 0, 1, ..., see `jorbit.basis.moments`.
    """
    highest = max(c.l_max for c in contractions)
    tensors = [stf_tensor(moments[..., degree_slice(l)], l) for l in range(highest + 1)]
    return jnp.stack(
        [contract([tensors[l] for l in c.degrees], c.labels(), "", _product) for c in contractions], axis=-1
    )


def _product(text: str, x: Array, y: Array) -> Array:
    return jnp.einsum(text, x, y, precision="highest")
