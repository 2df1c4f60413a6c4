"""Symmetric trace-free (STF) moments of unit vectors: independent Cartesian components, and the tensors they stand for.

A symmetric trace-free tensor of degree l has 2l + 1 independent components. Those kept are the ones with at most one
index z, in lexicographic order: x y z; xx xy xz yy yz; xxx xxy xxz xyy xyz yyy yyz; ... The others follow from
T_(..zz) = -T_(..xx) - T_(..yy). No factor (2l - 1)!! is used: |STF(u^l)|^2 = l! / (2l - 1)!! for a unit vector u.
"""

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

LETTERS = "svQTDEF"  # how the moments of l = 0, 1, 2, ... are called in formulas


def n_components(l_max: int) -> int:
    """Components of all moments up to l_max: (l_max + 1)^2."""
    return (l_max + 1) ** 2


def degree_slice(l: int) -> slice:  # noqa: E741
    """Where the components of degree l stand among those of all degrees."""
    return slice(l * l, (l + 1) ** 2)


@functools.cache
def stf_indices(l: int) -> tuple[tuple[int, ...], ...]:  # noqa: E741
    """Sorted Cartesian indices of the independent components of degree l.

    Example:
        >>> ["".join("xyz"[i] for i in indices) for indices in stf_indices(2)]
        ['xx', 'xy', 'xz', 'yy', 'yz']
    """
    return tuple(i for i in itertools.combinations_with_replacement(range(3), l) if i.count(2) <= 1)


@functools.cache
def stf_basis(l: int) -> Int[np.ndarray, " components *axes"]:  # noqa: E741
    """E[c, i1, .., il]: the symmetric trace-free tensor whose independent components are 1 at c and 0 elsewhere.

    Integer entries: a tensor is the sum of component times basis tensor.

    Example:
        >>> stf_basis(2)[0].tolist()  # xx = 1 makes zz = -1
        [[1, 0, 0], [0, 0, 0], [0, 0, -1]]
    """
    position = {indices: c for c, indices in enumerate(stf_indices(l))}
    basis = np.zeros((2 * l + 1, *(3,) * l), dtype=np.int64)
    for indices in itertools.product(range(3), repeat=l):
        for component, sign in _expand(tuple(sorted(indices))).items():
            basis[(position[component], *indices)] += sign
    basis.setflags(write=False)
    return basis


def _expand(indices: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """A tensor entry (sorted indices) as a combination of independent components: zz = -xx - yy."""
    pairs, rest = divmod(indices.count(2), 2)
    kept = tuple(i for i in indices if i != 2) + (2,) * rest
    found: dict[tuple[int, ...], int] = {}
    for k in range(pairs + 1):  # (-1)^p (xx + yy)^p
        component = tuple(sorted((*kept, *(0, 0) * k, *(1, 1) * (pairs - k))))
        found[component] = found.get(component, 0) + (-1) ** pairs * math.comb(pairs, k)
    return found


@functools.cache
def monomial_exponents(l_max: int) -> Int[np.ndarray, "monomials 3"]:
    """Exponents of x^a y^b z^c with c <= 1, by degree: on the unit sphere they span all functions up to l_max."""
    rows = [[i.count(k) for k in range(3)] for l in range(l_max + 1) for i in stf_indices(l)]
    return np.array(rows, dtype=np.int32)


@functools.cache
def stf_from_monomials(l_max: int) -> Float[np.ndarray, "components monomials"]:
    """Moments up to l_max of unit vectors as combinations of their monomials x^a y^b z^c, c <= 1.

    STF(u^l) = sum over k of (-1)^k (2l - 2k - 1)!! / (2l - 1)!! times all ways to replace k pairs of factors u u by the
    unit tensor. With at most one index z, only pairs x x and y y can be replaced: few monomials per component.
    """
    exponents = [tuple(e) for e in monomial_exponents(l_max).tolist()]
    position = {e: k for k, e in enumerate(exponents)}
    table = np.zeros((len(exponents), len(exponents)))
    for row, (a, b, c) in enumerate(exponents):
        l = a + b + c  # noqa: E741
        for i, j in itertools.product(range(a // 2 + 1), range(b // 2 + 1)):
            factor = (-1) ** (i + j) * _odd_factorial(2 * (l - i - j) - 1) / _odd_factorial(2 * l - 1)
            table[row, position[a - 2 * i, b - 2 * j, c]] = factor * _pairings(a, i) * _pairings(b, j)
    table.setflags(write=False)
    return table


def _odd_factorial(n: int) -> int:
    return math.prod(range(n, 0, -2))


def _pairings(n: int, k: int) -> int:
    """Ways to choose k disjoint pairs among n things."""
    return math.factorial(n) // (math.factorial(n - 2 * k) * math.factorial(k) * 2**k)


def unit_monomials(unit: Float[Array, "*batch 3"], l_max: int) -> Float[Array, "*batch monomials"]:
    """x^a y^b z^c with c <= 1 and degree up to l_max, in the order of `monomial_exponents`; one product each."""
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    powers: dict[tuple[int, int, int], Array] = {(0, 0, 0): jnp.ones_like(x)}
    for a, b, c in monomial_exponents(l_max)[1:].tolist():
        lower, factor = ((a, b, 0), z) if c else ((a, b - 1, 0), y) if b else ((a - 1, 0, 0), x)
        powers[a, b, c] = powers[lower] * factor
    return jnp.stack(list(powers.values()), axis=-1)


def stf_components(unit: Float[Array, "*batch 3"], l_max: int) -> Float[Array, "*batch components"]:
    """Independent components of STF(u^l) for l = 0 .. l_max of unit vectors u.

    For moments of many neighbours sum `unit_monomials` first and apply `stf_from_monomials` once, after the sum.

    Args:
        unit: unit vectors.
        l_max: highest degree.

    Example:
        >>> (3 * stf_components(jnp.array([0.0, 0.0, 1.0]), 2)).round(4).tolist()
        [3.0, 0.0, 0.0, 3.0, -1.0, 0.0, 0.0, -1.0, 0.0]

    References:
        Applequist, J. Phys. A 22, 4303 (1989) (traceless Cartesian tensors).
    """
    table = jnp.asarray(stf_from_monomials(l_max), unit.dtype)
    return jnp.einsum("...k,ck->...c", unit_monomials(unit, l_max), table, precision="highest")


def stf_tensor(components: Float[Array, "*batch components"], l: int) -> Float[Array, "..."]:  # noqa: E741
    """The full tensor [*batch, 3, .., 3] from the 2l + 1 independent components of one degree."""
    basis = stf_basis(l).reshape(2 * l + 1, -1)
    flat = jnp.einsum("...c,ci->...i", components, jnp.asarray(basis, components.dtype), precision="highest")
    return flat.reshape(*components.shape[:-1], *(3,) * l)
