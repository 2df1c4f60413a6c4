"""Small products of the moments that many invariants share, entry by entry: v, Q, T and what can be made of them.

A tensor is a table from its distinct entries (sorted indices) to arrays over atoms and channels, so that everything is
element-wise arithmetic on long vectors and no symmetric entry is computed twice.
"""

import collections
import functools
import itertools
import math
from collections.abc import Sequence

from jax import Array

from jorbit.basis.moments import stf_basis, stf_indices

Key = tuple[int, ...]
Table = dict[Key, Array]  # symmetric tensor: sorted indices -> entry
PairTable = dict[tuple[Key, Key], Array]  # symmetric within each of two groups of indices


def _multiplicity(key: Key) -> int:
    """How many entries of the full tensor the sorted indices stand for."""
    return math.factorial(len(key)) // math.prod(math.factorial(key.count(k)) for k in range(3))


def _sorted_keys(l: int) -> list[Key]:  # noqa: E741
    return list(itertools.combinations_with_replacement(range(3), l))


def _join(*keys: Key) -> Key:
    return tuple(sorted(itertools.chain(*keys)))


def _total(terms: list[tuple[int, Array]]) -> Array:
    """Sum of integer multiples."""
    parts = [x if factor == 1 else -x if factor == -1 else factor * x for factor, x in terms]
    return functools.reduce(lambda a, b: a + b, parts)


def entries(components: Sequence[Array], l: int) -> Table:  # noqa: E741
    """All distinct entries of a trace-free tensor from its 2l + 1 independent components."""
    basis = stf_basis(l)
    table = {}
    for key in _sorted_keys(l):
        column = basis[(slice(None), *key)]
        table[key] = _total([(int(column[c]), components[c]) for c in range(len(stf_indices(l))) if column[c]])
    return table


def dot(x: Table, y: Table) -> Array:
    """Sum over all indices of two symmetric tensors of one degree."""
    return _total([(_multiplicity(key), x[key] * y[key]) for key in x])


def contracted(x: Table, y: Table, n_shared: int) -> PairTable:
    """Sum over n_shared indices: [remaining indices of x, remaining indices of y].

    Of products of a tensor with itself only the pairs (p, q) with p <= q are formed.
    """
    free_x, free_y = (len(next(iter(t))) - n_shared for t in (x, y))
    found: PairTable = {}
    for p, q in itertools.product(_sorted_keys(free_x), _sorted_keys(free_y)):
        if x is y and q < p:
            continue
        terms: collections.Counter[tuple[Key, Key]] = collections.Counter()
        for s in _sorted_keys(n_shared):
            pair = (_join(p, s), _join(q, s))
            one, two = sorted(pair) if x is y else pair
            terms[one, two] += _multiplicity(s)
        found[p, q] = _total([(k, x[one] * y[two]) for (one, two), k in terms.items()])
    return found


def symmetric(pairs: PairTable) -> Table:
    """A contraction whose open indices are symmetric anyway, as a symmetric tensor."""
    return {_join(p, q): value for (p, q), value in pairs.items() if p <= q}


def open_indices(pairs: PairTable) -> Table:
    """A contraction that leaves open indices of one factor only."""
    return {_join(p, q): value for (p, q), value in pairs.items()}


class SharedProducts:
    """Moments of l <= 3 and their shared products, each computed when first asked for.

    a_ij = Q_ik Q_kj, b_ij = T_ikl T_jkl, c_i = Q_ij v_j, d_ij = T_ijk v_k, e_i = T_ijk Q_jk, w_i = T_ijk b_jk,
    x_jkm = Q_ij T_ikm, y_jklm = T_ijk T_ilm.

    Args:
        components: (l_max + 1)^2 arrays, one per independent component.
    """

    def __init__(self, components: Sequence[Array]):
        self.s = components[0]
        self._components = components

    @functools.cached_property
    def v(self) -> Table:
        return entries(self._components[1:4], 1)

    @functools.cached_property
    def Q(self) -> Table:
        return entries(self._components[4:9], 2)

    @functools.cached_property
    def T(self) -> Table:
        return entries(self._components[9:16], 3)

    @functools.cached_property
    def a(self) -> Table:
        return symmetric(contracted(self.Q, self.Q, 1))

    @functools.cached_property
    def b(self) -> Table:
        return symmetric(contracted(self.T, self.T, 2))

    @functools.cached_property
    def c(self) -> Table:
        return open_indices(contracted(self.Q, self.v, 1))

    @functools.cached_property
    def d(self) -> Table:
        return open_indices(contracted(self.T, self.v, 1))

    @functools.cached_property
    def e(self) -> Table:
        return open_indices(contracted(self.T, self.Q, 2))

    @functools.cached_property
    def w(self) -> Table:
        return open_indices(contracted(self.T, self.b, 2))

    @functools.cached_property
    def vv(self) -> Table:
        """v_i v_j."""
        return {(i, j): self.v[i,] * self.v[j,] for i, j in _sorted_keys(2)}

    def cubed(self) -> Array:
        """T_ijk w_i w_j w_k."""
        w = self.w
        return dot(self.T, {(i, j, k): w[i,] * w[j,] * w[k,] for i, j, k in _sorted_keys(3)})

    def crossed(self) -> Array:
        """x_jkm x_kjm = Q_ij Q_kl T_ikm T_jlm."""
        x = contracted(self.Q, self.T, 1)
        terms: collections.Counter[tuple] = collections.Counter()
        for j, k, m in itertools.product(range(3), repeat=3):
            one, two = ((j,), _join((k,), (m,))), ((k,), _join((j,), (m,)))
            terms[min((one, two), (two, one))] += 1
        return _total([(n, x[one] * x[two]) for (one, two), n in terms.items()])

    def tetrahedron(self) -> Array:
        """y_jklm y_jlkm = T_ijk T_ilm T_jln T_kmn."""
        y = contracted(self.T, self.T, 1)
        terms: collections.Counter[tuple] = collections.Counter()
        for j, k, l, m in itertools.product(range(3), repeat=4):
            pairs = [(_join((j,), (k,)), _join((l,), (m,))), (_join((j,), (l,)), _join((k,), (m,)))]
            one, two = (min(p, p[::-1]) for p in pairs)
            terms[min((one, two), (two, one))] += 1
        return _total([(n, y[one] * y[two]) for (one, two), n in terms.items()])
