"""Sums over neighbours with a reverse pass of their own have the derivatives of sums written plainly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.neighbor_sums import neighbor_sums


def ring(n_atoms: int) -> tuple[jax.Array, jax.Array]:
    """Every atom knows the two beside it, in slots of changing order, and has two empty slots."""
    around = np.stack(
        [np.roll(np.arange(n_atoms), -1), np.roll(np.arange(n_atoms), 1), *np.zeros((2, n_atoms), int)], axis=1
    )
    around[::2, :2] = around[::2, 1::-1]
    return jnp.asarray(around), jnp.asarray(np.tile([1.0, 1.0, 0.0, 0.0], (n_atoms, 1)))


def summed(weight, pairs, said):
    vectors, filled = pairs
    length = filled * jnp.exp(-weight * (vectors**2).sum(-1))
    return {
        "scalar": (length[..., None] * said).sum(axis=1),
        "vector": jnp.einsum("as,asx,asf->axf", length, vectors, jnp.sin(weight) * said),
    }


def transposed(weight, pairs, own, heard):
    vectors, filled = pairs
    length = filled * jnp.exp(-weight * (vectors**2).sum(-1))
    turned = -jnp.einsum("as,asx,asxf->af", length, vectors, heard["vector"])
    return (length[..., None] * heard["scalar"]).sum(axis=1) + jnp.sin(weight) * turned


@pytest.mark.parametrize(("n_atoms", "block"), [(6, 8), (6, 3), (7, 3)])
def test_derivatives_of_first_and_second_order_are_those_of_plain_sums(n_atoms, block, x64):
    rng = np.random.default_rng(1)
    index, filled = ring(n_atoms)
    positions, features = jnp.asarray(rng.normal(size=(n_atoms, 3))), jnp.asarray(rng.normal(size=(n_atoms, 2)))

    def plain(weight, positions, features):
        pairs = (positions[index] - positions[:, None], filled)
        return summed(weight, pairs, features[index])

    def ours(weight, positions, features):
        pairs = (positions[index] - positions[:, None], filled)
        return neighbor_sums(summed, transposed, weight, pairs, features, index, block)

    def energy(of, *arguments):
        found = of(*arguments)
        return (found["scalar"] ** 3).sum() + jnp.sin(found["vector"]).sum()

    def loss(of, *arguments):  # forces within, as in training
        forces = jax.grad(energy, argnums=2)(of, *arguments)
        return energy(of, *arguments) ** 2 + (forces**2).sum()

    given = (jnp.asarray(0.3), positions, features)
    for function in (energy, loss):
        by_all = jax.jit(jax.grad(function, argnums=(1, 2, 3)), static_argnums=0)
        wanted, got = (by_all(of, *given) for of in (plain, ours))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), wanted, got)
    hessian = jax.jit(jax.hessian(energy, argnums=2), static_argnums=0)
    hessians = [hessian(of, *given) for of in (plain, ours)]
    np.testing.assert_allclose(*hessians, rtol=1e-10, atol=1e-12)


def test_nothing_of_the_size_of_all_pairs_is_gathered(x64):
    """Neither pass makes an array of one row of features for each pair."""
    n_atoms, width = 40, 7
    index, filled = ring(n_atoms)
    pairs = (jnp.ones((n_atoms, 4, 3)), filled)

    def total(features):
        found = neighbor_sums(summed, transposed, jnp.asarray(0.3), pairs, features, index, 8)
        return (found["scalar"] ** 2).sum()

    def shapes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (v.aval.shape for v in equation.outvars)
            for value in equation.params.values():
                for one in value if isinstance(value, tuple | list) else (value,):
                    if hasattr(one, "eqns") or hasattr(one, "jaxpr"):
                        yield from shapes(getattr(one, "jaxpr", one))

    found = set(shapes(jax.make_jaxpr(jax.grad(total))(jnp.ones((n_atoms, width))).jaxpr))
    assert (8, 4, width) in found and (n_atoms, 4, width) not in found
