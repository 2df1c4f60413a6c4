"""Quintic splines through values on knots: their errors, derivatives and ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis import tables
from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.radial import gaussians
from jorbit.basis.radial_network import hidden_units, radial_inputs, units_of_distance
from jorbit.basis.tables import Tabulated, spline_table, spline_values
from jorbit.models.layers.activations import shifted_softplus
from jorbit.models.schnet import KNOTS

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


def compared(network, found, dtype=jnp.float32) -> tuple[float, float]:
    """Largest error of values and of slopes, of the largest value and slope."""
    r = jnp.asarray(np.random.default_rng(0).uniform(0.5, END, 2000), dtype)
    wanted, got = (jax.jvp(f, (r,), (jnp.ones_like(r),)) for f in (network, found))
    values, slopes = (float(jnp.abs(a - b).max() / jnp.abs(a).max()) for a, b in zip(wanted, got, strict=True))
    return values, slopes


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_filters_of_schnet_in_float32_are_those_of_the_network(strength):
    """As in the model, four knots between Gaussians: values to 4e-6 of the largest, slopes to 2e-5."""
    one, two = jax.random.split(jax.random.key(1))
    weights = strength * 0.12 * jax.random.normal(one, (20, 64)), 0.1 * jax.random.normal(two, (64, 64))

    def network(weights, r):
        return shifted_softplus(gaussians(r, END, 20) @ weights[0]) @ weights[1]

    table = Tabulated(network, END, KNOTS * 19)
    prepared = table.prepared(weights, jnp.float32)
    assert prepared[-1] == 1.0
    values, slopes = compared(functools.partial(network, weights), functools.partial(table, prepared))
    assert 0.0 < values < 4e-6 and 0.0 < slopes < 2e-5


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_radial_networks_are_those_of_the_network_and_zero_at_the_cutoff(strength):
    """Of MACE and NequIP in float32: values to 4e-6 of the largest, slopes to 3e-5; exactly zero from the cutoff on.

    A network with weights twice as large is too sharp for its table and must come out as it is.
    """
    keys = jax.random.split(jax.random.key(2), 3)
    shapes = ((8, 64), (64, 64), (64, 64))
    kernels = [strength * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]

    def network(r):
        return hidden_units(radial_inputs(r, polynomial_cutoff(r, END, 5), END, 8), kernels)

    units = units_of_distance(kernels, END, 8, 5, table=True)
    values, slopes = compared(network, units)
    assert values < 4e-6 and slopes < (3e-5 if strength == 1.0 else 3e-6)
    assert not jnp.any(units(jnp.array([END, END + 1.0], jnp.float32)))
    just_inside = jnp.abs(units(jnp.array([END - 1e-4], jnp.float32))).max()
    assert float(just_inside) < 2e-6 * float(jnp.abs(network(jnp.linspace(0.5, END, 50))).max())


def test_a_function_too_sharp_for_its_table_is_its_own_in_values_and_all_derivatives(x64):
    table = Tabulated(lambda w, r: jnp.tanh(w * (r - 2.0))[:, None], END, 40)
    r = jnp.asarray(np.random.default_rng(0).uniform(1.0, 3.0, 20))
    for weight, accurate in ((1.0, 1.0), (50.0, 0.0)):
        assert table.prepared(jnp.asarray(weight), r.dtype)[-1] == accurate

        def slope_by_weight(of, w, r=r):
            return jax.grad(lambda w: jax.grad(lambda r: of(w, r).sum())(r).sum())(w)

        got = slope_by_weight(lambda w, r: table(table.prepared(w, r.dtype), r), jnp.asarray(weight))
        wanted = slope_by_weight(table.function, jnp.asarray(weight))
        np.testing.assert_allclose(got, wanted, rtol=1e-3 if accurate else 1e-12)
