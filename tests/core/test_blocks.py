"""Functions of single atoms mapped over blocks give what they give at once, and never see more than a block."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.blocks import map_atom_blocks, shared_block


@pytest.mark.parametrize(("n_atoms", "block"), [(4, 4), (6, 3), (7, 3)])
def test_values_and_gradients_are_those_of_all_atoms_at_once(n_atoms, block, x64):
    rng = np.random.default_rng(0)
    x, scale = jnp.asarray(rng.normal(size=(n_atoms, 2, 3))), jnp.asarray(rng.normal(size=n_atoms))
    seen = []

    def function(x, scale):
        seen.append(x.shape[0])
        y = jnp.sin(x) * scale[:, None, None]
        return {"sum": y.sum(axis=(1, 2)), "all": y}

    def total(x, scale, of):
        found = of(x, scale)
        return (found["sum"] ** 2).sum() + (found["all"] ** 3).sum()

    def blocked(x, scale):
        return map_atom_blocks(function, (x, scale), block)

    @jax.jit
    def answers(x, scale):
        return [(of(x, scale), jax.grad(total, argnums=(0, 1))(x, scale, of)) for of in (function, blocked)]

    wanted, got = answers(x, scale)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), wanted, got)
    seen.clear()
    jax.eval_shape(blocked, x, scale)
    assert set(seen) == {min(n_atoms, block)}


def test_padding_of_the_last_block_repeats_an_atom_so_that_nothing_singular_is_met(x64):
    """A function that is infinite at zero: zeros as padding would put NaN into the gradients."""
    x = jnp.arange(1.0, 6.0)
    gradient = jax.grad(lambda x: map_atom_blocks(lambda x: jnp.log(x) / x, (x,), 2).sum())(x)
    np.testing.assert_allclose(gradient, (1 - np.log(x)) / np.asarray(x) ** 2, rtol=1e-14)


def test_an_accelerator_gets_all_atoms_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    seen = []

    def function(x):
        seen.append(x.shape[0])
        return x

    x = jnp.arange(5.0)
    jax.eval_shape(lambda x: map_atom_blocks(function, (x,), 2), x)
    jax.eval_shape(lambda x: map_atom_blocks(function, (x,), 2, everywhere=True), x)
    assert set(seen[:1]) == {5} and set(seen[1:]) == {2}


def test_blocks_that_fill_up_need_no_array_for_padding():
    """Padding by nothing would leave an array of zeros for each end in the reverse pass: 24 MB in HIP-HOP-NN."""
    gradient = jax.make_jaxpr(jax.grad(lambda x: map_atom_blocks(jnp.sin, (x,), 2).sum()))(jnp.zeros(6))
    assert "pad" not in str(gradient)


@pytest.mark.parametrize(("threads", "times"), [(1, 1), (2, 4), (4, 8), (64, 8)])
def test_threads_share_larger_blocks(threads, times, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(threads)), raising=False)
    assert shared_block(16) == 16 * times
