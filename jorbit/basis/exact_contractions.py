"""Derivatives of contractions in exact arithmetic modulo a prime: ranks without a tolerance.

The basis tensors of `jorbit.basis.moments.stf_basis` are integers, so an invariant is a polynomial of the independent
components with integer coefficients. A rank modulo a prime is never above the true one, and at a random point below it
with a chance of about (degree * rank) / prime.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jorbit.basis.contractions import Contraction, contract
from jorbit.basis.moments import degree_slice, stf_basis

PRIME = 2**27 - 39  # products of two residues, summed over five indices, stay below 2^63


def _product(text: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.einsum(text, x, y) % PRIME


def exact_jacobian(
    contractions: Sequence[Contraction], moments: Int[np.ndarray, " components"]
) -> Int[np.ndarray, "invariants components"]:
    """d invariant / d component modulo PRIME: for each tensor of the product, the rest of the graph with its legs open.

    Args:
        contractions: graphs.
        moments: integer components at which to differentiate.
    """
    highest = max(c.l_max for c in contractions)
    basis = [stf_basis(l) for l in range(highest + 1)]
    moments = np.asarray(moments, dtype=np.int64) % PRIME
    tensors = [np.tensordot(moments[degree_slice(l)], basis[l], 1) % PRIME for l in range(highest + 1)]
    rows = np.zeros((len(contractions), len(moments)), dtype=np.int64)
    for row, graph in zip(rows, contractions, strict=True):
        labels = graph.labels()
        for k, l in enumerate(graph.degrees):  # noqa: E741
            others = [j for j in range(graph.order) if j != k]
            if others:
                rest = contract(
                    [tensors[graph.degrees[j]] for j in others], tuple(labels[j] for j in others), labels[k], _product
                )
            else:
                rest = np.ones((), dtype=np.int64)
            row[degree_slice(l)] += np.tensordot(basis[l].reshape(2 * l + 1, -1), rest.reshape(-1) % PRIME, 1) % PRIME
    return rows % PRIME
