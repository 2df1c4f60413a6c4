"""Derivatives of the invariants modulo a prime: ranks of a product space without a tolerance.

Coupling coefficients are sums of square roots of rational numbers. In a field of p elements in which -1, 2, 3, 5, ...
all have square roots, one root of each is chosen once; sums and products of the coefficients then map to the field
without contradiction, so a minor that is zero in exact arithmetic is zero in the field. The reverse fails with a chance
of about (degree of the minor) / p at a random point.
"""

import functools
import math

import numpy as np
from jaxtyping import Int

from jorbit.basis.independent_rows import product_modulo
from jorbit.basis.product_space import Block, ProductSpace
from jorbit.core.errors import ConfigError

_SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
Atomic = list[Int[np.ndarray, "_ _ _"]]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % k for k in range(2, math.isqrt(n) + 1))


@functools.cache
def field_prime() -> int:
    """The largest prime below 2^31 modulo which -1 and all primes up to 47 have square roots."""
    p = 2**31 - 7  # 1 modulo 8: then -1 and 2 have roots
    while not (all(pow(q, (p - 1) // 2, p) == 1 for q in _SMALL_PRIMES) and _is_prime(p)):
        p -= 8
    return p


@functools.cache
def square_root(q: int) -> int:
    """One square root of -1 or of a small prime in the field: the same one at every call.

    Found with the polynomial method of Cipolla: (a + sqrt(a^2 - q))^((p + 1) / 2) lies in the field.
    """
    p = field_prime()
    q = q % p
    a = next(a for a in range(1, 1000) if pow(a * a - q, (p - 1) // 2, p) == p - 1)
    w = (a * a - q) % p
    result, base, exponent = (1, 0), (a, 1), (p + 1) // 2
    while exponent:
        if exponent & 1:
            result = _times(result, base, w, p)
        base, exponent = _times(base, base, w, p), exponent >> 1
    return min(result[0], p - result[0])


def _times(x: tuple[int, int], y: tuple[int, int], w: int, p: int) -> tuple[int, int]:
    return ((x[0] * y[0] + x[1] * y[1] * w) % p, (x[0] * y[1] + x[1] * y[0]) % p)


def _root_of_ratio(top: list[int], bottom: list[int]) -> int:
    """sqrt(prod(top) / prod(bottom)) from the roots of their prime factors."""
    p, result = field_prime(), 1
    for q in _SMALL_PRIMES:
        power = sum(_multiplicity(n, q) for n in top) - sum(_multiplicity(n, q) for n in bottom)
        result = result * pow(square_root(q), power, p) % p
    return result


def _multiplicity(n: int, q: int) -> int:
    count = 0
    while n % q == 0:
        n, count = n // q, count + 1
    return count


def _complex_clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """Racah's formula in the field."""
    p, f = field_prime(), math.factorial
    if l1 + l2 + l3 + 1 > _SMALL_PRIMES[-1] + 5:  # the next prime is 53
        raise ConfigError(f"Exact couplings are made for degrees that add up to at most 51, got {l1}, {l2}, {l3}.")
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1), dtype=object)
    top = [2 * l3 + 1, f(l1 + l2 - l3), f(l1 - l2 + l3), f(-l1 + l2 + l3)]
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            m3 = m1 + m2
            total = 0
            for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
                parts = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
                total += (-1) ** k * pow(math.prod(f(n) for n in parts), -1, p)
            norm = [f(l3 + m3), f(l3 - m3), f(l1 - m1), f(l1 + m1), f(l2 - m2), f(l2 + m2)]
            table[m1 + l1, m2 + l2, m3 + l3] = total * _root_of_ratio(top + norm, [f(l1 + l2 + l3 + 1)]) % p
    return table


def _real_from_complex(l: int, *, conjugate: bool = False) -> np.ndarray:  # noqa: E741
    """The unitary matrix of `jorbit.basis.coupling` in the field."""
    p = field_prime()
    half, i = pow(square_root(2), -1, p), square_root(-1) * (-1 if conjugate else 1)
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=object)
    u[l, l] = 1
    for m in range(1, l + 1):
        u[l + m, l + m], u[l + m, l - m] = (-1) ** m * half, half
        u[l - m, l - m], u[l - m, l + m] = i * half, -i * (-1) ** m * half
    return u % p


@functools.cache
def exact_clebsch_gordan(l1: int, l2: int, l3: int) -> Int[np.ndarray, "m1 m2 m3"]:
    """The table of `jorbit.basis.coupling.clebsch_gordan` in the field of `field_prime()`.

    Example:
        >>> table = exact_clebsch_gordan(1, 1, 0)[:, :, 0]
        >>> (3 * table * table % field_prime()).diagonal().tolist()
        [1, 1, 1]
    """
    p = field_prime()
    table = np.tensordot(_real_from_complex(l1), _complex_clebsch_gordan(l1, l2, l3), (1, 0)) % p
    table = np.tensordot(_real_from_complex(l2), table, (1, 1)).transpose(1, 0, 2) % p
    table = np.tensordot(table, _real_from_complex(l3, conjugate=True), (2, 1)) % p
    if (l1 + l2 + l3) % 2:
        table = table * -square_root(-1) % p  # the imaginary part
    return table.astype(np.int64)


def _pair_products(block: Block, left: Atomic, right: Atomic) -> np.ndarray:
    p, parts = field_prime(), []
    for group in block.groups:
        a, b = left[group.l1][:, group.rows1], right[group.l2][:, group.rows2]
        table = exact_clebsch_gordan(group.l1, group.l2, block.degree)
        outer = a[:, None] * b[None, :] % p
        flat = outer.reshape(outer.shape[0] * outer.shape[1], -1)
        product = product_modulo(table.reshape(-1, table.shape[2]).T, flat, p)
        parts.append(product.reshape(-1, *outer.shape[2:]))
    return np.concatenate(parts, axis=1)


def exact_jacobian(space: ProductSpace, atomic: Atomic, tangent: Atomic) -> Int[np.ndarray, "features directions"]:
    """Derivatives of the invariants along many directions, modulo `field_prime()`.

    Args:
        space: tables from `product_space`.
        atomic: A_l [2l + 1, rows, 1], residues.
        tangent: dA_l [2l + 1, rows, directions], residues.
    """
    p = field_prime()
    parts = [tangent[0][0, space.single]]
    for block in space.blocks:
        pairs = _pair_products(block, atomic, atomic)
        d_pairs = (_pair_products(block, tangent, atomic) + _pair_products(block, atomic, tangent)) % p
        parts.append(d_pairs[0, block.pair])
        if len(block.triple):
            (q, v), a, da = block.triple.T, atomic[block.degree], tangent[block.degree]
            parts.append(((pairs[:, q] * da[:, v] % p + a[:, v] * d_pairs[:, q] % p) % p).sum(axis=0) % p)
        q, r = block.quadruple.T
        parts.append(((pairs[:, q] * d_pairs[:, r] % p + pairs[:, r] * d_pairs[:, q] % p) % p).sum(axis=0) % p)
    return np.concatenate(parts, axis=0)
