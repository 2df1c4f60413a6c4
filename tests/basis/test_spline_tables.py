"""Quintic splines through values on knots: their errors, derivatives and ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis import tables
from jorbit.basis.radial import gaussians
from jorbit.basis.tables import spline_table, spline_values

END = 5.0


def waves(r: jax.Array) -> jax.Array:
    return jnp.stack([jnp.sin(3.0 * r + 0.4), jnp.exp(-((r - 2.0) ** 2))], axis=-1)


def test_errors_fall_with_the_sixth_power_of_the_distance_of_knots(x64):
    r = jnp.asarray(np.random.default_rng(0).uniform(0.0, END, 500))
    errors = [
        float(jnp.abs(spline_values(spline_table(waves, END, n, r.dtype), r, END) - waves(r)).max())
        for n in (20, 40, 80)
    ]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 6.0, atol=0.6)
    h = END / 80
    assert errors[-1] < 4 * 3e-5 * h**6 * 3.0**6  # the largest sixth derivative is that of the sine, or about it


def test_derivatives_are_those_of_the_values(x64):
    r = jnp.asarray(np.random.default_rng(0).uniform(0.1, END - 0.1, 40))
    table, step = spline_table(waves, END, 40, r.dtype), 1e-4
    for order in range(3):
        there, back = (spline_values(table, r + d, END, order) for d in (step, -step))
        slope = spline_values(table, r, END, order + 1)
        np.testing.assert_allclose((there - back) / (2 * step), slope, atol=2e-5 * 8**order)
    by_rule = jax.vmap(jax.jacfwd(lambda r: spline_values(table, r[None], END)[0]))(r)
    np.testing.assert_allclose(by_rule, spline_values(table, r, END, 1), rtol=1e-12)


@pytest.mark.parametrize("dense", [0, 256])
def test_what_a_change_of_the_table_does_is_linear_in_it(dense, x64, monkeypatch):
    """Derivatives by the table, of values and of their slopes, against tables that were changed; in both ways."""
    monkeypatch.setattr(tables, "DENSE", dense)
    r = jnp.asarray(np.random.default_rng(0).uniform(0.0, END, 30))
    table = spline_table(waves, END, 10, r.dtype)
    change = jnp.asarray(np.random.default_rng(1).normal(size=table.shape))

    def slopes(table):
        return jax.grad(lambda r: spline_values(table, r, END).sum())(r)

    for function in (lambda t: spline_values(t, r, END), slopes):
        wanted = function(table + change) - function(table)
        np.testing.assert_allclose(jax.jvp(function, (table,), (change,))[1], wanted, atol=1e-12)
        cotangent = jnp.asarray(np.random.default_rng(2).normal(size=wanted.shape))
        back = jax.vjp(function, table)[1](cotangent)[0]
        np.testing.assert_allclose((back * change).sum(), (cotangent * wanted).sum(), rtol=1e-10)


def test_beyond_the_ends_the_last_value_stays(x64):
    table = spline_table(waves, END, 40, jnp.float64)
    outside = spline_values(table, jnp.array([-1.0, END + 2.0]), END)
    np.testing.assert_allclose(outside, spline_values(table, jnp.array([0.0, END]), END), rtol=1e-12)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_filters_of_schnet_in_float32_are_those_of_the_network(strength):
    """As in the model, four knots between Gaussians: values to 4e-6 of the largest, slopes to 2e-5."""
    from jorbit.models.layers.activations import shifted_softplus
    from jorbit.models.schnet import KNOTS

    one, two = jax.random.split(jax.random.key(1))
    first, second = strength * 0.12 * jax.random.normal(one, (20, 64)), 0.1 * jax.random.normal(two, (64, 64))

    def network(r):
        return shifted_softplus(gaussians(r, END, 20) @ first) @ second

    r = jnp.asarray(np.random.default_rng(0).uniform(0.5, END, 2000), jnp.float32)
    table = spline_table(network, END, KNOTS * 19, jnp.float32)
    values, slopes = jax.jvp(network, (r,), (jnp.ones_like(r),))
    assert float(jnp.abs(spline_values(table, r, END) - values).max()) < 4e-6 * float(jnp.abs(values).max())
    assert float(jnp.abs(spline_values(table, r, END, 1) - slopes).max()) < 2e-5 * float(jnp.abs(slopes).max())
