"""Clebsch-Gordan coefficients of the real spherical harmonics, and independent invariant couplings."""

import functools
import math

import numpy as np
from jaxtyping import Float


def _complex_clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """<l1 m1 l2 m2 | l3 m3> by Racah's formula, in exact integers up to the final square root."""
    f = math.factorial
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            m3 = m1 + m2
            if abs(m3) > l3:
                continue
            total = 0.0
            for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
                parts = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
                total += (-1) ** k / math.prod(f(p) for p in parts)
            norm = f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
            table[m1 + l1, m2 + l2, m3 + l3] = math.sqrt((2 * l3 + 1) * triangle * norm) * total
    return table


def _real_from_complex(l: int) -> np.ndarray:  # noqa: E741
    """Rows: real harmonics (m = -l .. l) in terms of complex ones (Condon-Shortley phase)."""
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    u[l, l] = 1.0
    for m in range(1, l + 1):
        u[l + m, l + m], u[l + m, l - m] = (-1) ** m / math.sqrt(2), 1 / math.sqrt(2)
        u[l - m, l - m], u[l - m, l + m] = 1j / math.sqrt(2), -1j * (-1) ** m / math.sqrt(2)
    return u


@functools.cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> Float[np.ndarray, "m1 m2 m3"]:
    """Real coupling C such that (a ⊗ b)_m3 = sum_m1m2 C[m1, m2, m3] a_m1 b_m2 transforms as degree l3.

    Orthonormal: sum over m1, m2 of C[.., m] C[.., n] is 1 where m = n, else 0. For l1 + l2 + l3 odd the product is a
    pseudo-tensor (changes sign under inversion relative to a true tensor of its degree).

    Args:
        l1, l2, l3: degrees with |l1 - l2| <= l3 <= l1 + l2.

    References:
        Racah, Phys. Rev. 62, 438 (1942); tests compare with sympy and with rotations.
    """
    u1, u2, u3 = _real_from_complex(l1), _real_from_complex(l2), _real_from_complex(l3)
    table = np.einsum("am,bn,ck,mnk->abc", u1, u2, u3.conj(), _complex_clebsch_gordan(l1, l2, l3))
    # The phases of the real basis make the tensor purely real (even sum) or purely imaginary (odd sum).
    table = table.real if (l1 + l2 + l3) % 2 == 0 else table.imag
    table = np.where(np.abs(table) < 1e-14, 0.0, table)
    table.setflags(write=False)
    return table


def coupled_degrees(l1: int, l2: int) -> range:
    """Degrees contained in the product of l1 and l2."""
    return range(abs(l1 - l2), l1 + l2 + 1)


@functools.cache
def independent_couplings(degrees: tuple[int, int, int, int], labels: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Intermediate degrees L for which the invariants ((a1 a2)_L (a3 a4)_L) are a linear basis.

    All L together span the invariants of four tensors. Where two of the tensors are the same object, symmetry makes
    some combinations vanish or depend on each other; those are found from the numerical rank of the polynomials' values
    at random points (float64, Gram-Schmidt) and removed, lowest L kept first.

    Args:
        degrees: l of the four tensors; their sum must be even.
        labels: equal labels mean the same tensor (equal labels imply equal degrees).

    Returns:
        The kept L, ascending.
    """
    l1, l2, l3, l4 = degrees
    candidates = sorted(set(coupled_degrees(l1, l2)) & set(coupled_degrees(l3, l4)))
    if len(set(labels)) == 4:
        return tuple(candidates)
    rng = np.random.default_rng(0)
    n_points = 4 * len(candidates) + 8
    tensors = {a: rng.normal(size=(n_points, 2 * l + 1)) for a, l in zip(labels, degrees, strict=True)}
    a1, a2, a3, a4 = (tensors[a] for a in labels)
    kept: list[int] = []
    span = np.zeros((n_points, 0))
    for L in candidates:
        left = np.einsum("pa,pb,abm->pm", a1, a2, clebsch_gordan(l1, l2, L))
        right = np.einsum("pa,pb,abm->pm", a3, a4, clebsch_gordan(l3, l4, L))
        values = (left * right).sum(axis=1)
        scale = np.linalg.norm(np.linalg.norm(a1, axis=1) * np.linalg.norm(a2, axis=1)
                               * np.linalg.norm(a3, axis=1) * np.linalg.norm(a4, axis=1))  # fmt: skip
        residual = values / scale
        for _ in range(2):
            residual = residual - span @ (span.T @ residual)
        if np.linalg.norm(residual) > 1e-9:
            kept.append(L)
            span = np.concatenate([span, residual[:, None] / np.linalg.norm(residual)], axis=1)
    return tuple(kept)
