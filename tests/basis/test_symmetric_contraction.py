"""Products of one set of tensors: how many there are, how they turn, and that they are what their tables say."""

import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.symmetric_contraction import contraction_paths, dense_tables, symmetric_contraction
from jorbit.basis.tensor_messages import message_paths, neighbor_messages, species_messages
from jorbit.core.errors import ConfigError
from jorbit.testing.transformations import random_rotation


def rotation_matrices(turn, l_max):
    """D_l with Y_l(turn v) = D_l Y_l(v), by least squares over random directions."""
    rng = np.random.default_rng(5)
    v = rng.normal(size=(200, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    before, after = (np.asarray(real_spherical_harmonics(jnp.asarray(x), l_max)) for x in (v, v @ turn))
    blocks = [slice(l * l, (l + 1) ** 2) for l in range(l_max + 1)]
    return [np.linalg.lstsq(before[:, b], after[:, b], rcond=None)[0].T for b in blocks]


def random_tensors(l_max, shape, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(2 * l + 1, *shape))) for l in range(l_max + 1)]


@pytest.mark.parametrize(("l_max", "degree"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)])
@pytest.mark.parametrize("order", [2, 3])
def test_there_are_as_many_products_as_symmetric_tensors(l_max, degree, order, x64):
    # The trace over rotations counts them: characters of the symmetric power (Molien) against that of degree L.
    angles = (np.arange(400) + 0.5) * np.pi / 400
    weight = (1 - np.cos(angles)) / angles.size

    def character(degrees, angle, parity):
        return sum(parity**l * np.sin((l + 0.5) * angle) / np.sin(angle / 2) for l in degrees)

    total = 0.0
    for parity in (1, -1):  # rotations, and rotations with inversion
        x1, x2, x3 = (character(range(l_max + 1), k * angles, parity**k) for k in (1, 2, 3))
        power = (x1**2 + x2) / 2 if order == 2 else (x1**3 + 3 * x1 * x2 + 2 * x3) / 6
        total += 0.5 * np.sum(weight * power * character([degree], angles, parity))
    assert len(contraction_paths(l_max, 3, degree).of_order(order)) == round(total)
    assert total == pytest.approx(round(total), abs=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_products_turn_as_their_degree_says(degree, x64):
    tensors, paths = random_tensors(3, (4, 2)), contraction_paths(3, 3, degree)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(len(paths), 4, 2)))
    for proper in (True, False):
        turns = rotation_matrices(random_rotation(np.random.default_rng(2), proper=proper), 3)
        turned = [jnp.einsum("mn,n...->m...", d, a) for d, a in zip(turns, tensors, strict=True)]
        got = symmetric_contraction(paths, turned, weights)
        wanted = jnp.einsum("mn,n...->m...", turns[degree], symmetric_contraction(paths, tensors, weights))
        np.testing.assert_allclose(got, wanted, atol=1e-10)


@pytest.mark.parametrize("degree", [0, 1])
def test_products_are_those_of_the_dense_tables(degree, x64):
    tensors, paths = random_tensors(2, (3, 2)), contraction_paths(2, 3, degree)
    weights = np.random.default_rng(3).normal(size=(len(paths), 3, 2))
    row = np.concatenate(tensors)
    u3, u2, u1 = (dense_tables(paths, 2, order) for order in (3, 2, 1))
    products = np.concatenate(
        [
            np.einsum("kmabc,axy,bxy,cxy->kmxy", u3, row, row, row),
            np.einsum("kmab,axy,bxy->kmxy", u2, row, row),
            np.einsum("kma,axy->kmxy", u1, row),
        ]
    )
    wanted = np.einsum("kxy,kmxy->mxy", weights, products)
    np.testing.assert_allclose(symmetric_contraction(paths, tensors, jnp.asarray(weights)), wanted, atol=1e-12)


def test_sums_over_species_first_are_sums_over_neighbours(x64):
    rng = np.random.default_rng(4)
    functions, harmonics = jnp.asarray(rng.normal(size=(3, 5, 6))), jnp.asarray(rng.normal(size=(3, 5, 9)))
    species, radial = rng.integers(0, 2, size=(3, 5)), jnp.asarray(rng.normal(size=(6, 3, 4)))
    scalars = jnp.asarray(rng.normal(size=(2, 4)))
    first = species_messages(functions, harmonics, jnp.asarray(np.eye(2)[species]), radial, scalars)
    pairs = jnp.einsum("ask,kpc->aspc", functions, radial)
    last = neighbor_messages(pairs, harmonics, scalars[species][:, :, None, :], message_paths(0, 2))
    for a, b in zip(first, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_orders_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="correlation of 1, 2 or 3"):
        contraction_paths(3, 4, 0)
