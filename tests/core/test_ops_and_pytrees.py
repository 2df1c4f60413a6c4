"""Safe functions have safe derivatives; pytrees check what we build and let JAX rebuild; compilations are counted."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, TypeCheckError

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.graph import apply_strain, structure_volumes
from jorbit.core.ops import safe_divide, safe_norm
from jorbit.core.pytree import pytree, static
from jorbit.core.species import SpeciesTable
from jorbit.graphs.batching import build_graph
from jorbit.testing import systems, transformations


def test_the_norm_has_derivatives_everywhere(x64):
    vectors = jnp.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [1e-200, 0.0, 0.0]])
    gradient = jax.grad(lambda v: safe_norm(v).sum())(vectors)
    assert safe_norm(vectors).tolist() == [0.0, 5.0, 0.0]
    np.testing.assert_allclose(gradient, [[0, 0, 0], [0.6, 0.8, 0], [0, 0, 0]], atol=1e-15)
    second = jax.jacfwd(jax.grad(lambda v: safe_norm(v).sum()))(vectors)
    assert np.isfinite(second).all()


def test_division_by_zero_is_zero_with_zero_slope():
    numerator, denominator = jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])
    value, slopes = jax.value_and_grad(lambda a, b: safe_divide(a, b).sum(), argnums=(0, 1))(numerator, denominator)
    assert value == 0.5
    assert slopes[0].tolist() == [0.0, 0.5] and slopes[1].tolist() == [0.0, -0.25]


def test_strain_turns_every_vector_alike(x64):
    s = systems.triclinic_crystal()
    strain = 0.1 * np.random.default_rng(0).normal(size=(3, 3))
    graph = build_graph(s, SpeciesTable.from_numbers([8, 14]), [3.0])
    strained = apply_strain(graph, jnp.asarray(strain)[None])
    wanted = transformations.strained(s, strain)
    np.testing.assert_allclose(strained.positions[:3], wanted.positions, atol=1e-14)
    np.testing.assert_allclose(strained.cell[0], wanted.cell, atol=1e-14)
    assert structure_volumes(strained)[0] == pytest.approx(wanted.volume)


def test_a_structure_without_a_cell_has_volume_one():
    graph = build_graph(systems.water(), SpeciesTable.from_numbers([1, 8]), [])
    assert structure_volumes(graph).tolist() == [1.0]


@pytree
class Sample:
    x: Float[Array, " n"]
    y: Float[Array, " n"]
    name: str = static(default="")


def test_shapes_are_checked_when_we_build_one():
    with pytest.raises(TypeCheckError):
        jax_typed = __import__("jorbit.core.outputs", fromlist=["AtomOutputs"]).AtomOutputs
        jax_typed(energy=jnp.zeros((2, 2)))


def test_jax_may_rebuild_one_with_anything():
    sample = Sample(x=jnp.arange(3.0), y=jnp.ones(3), name="a")
    batched = jax.vmap(lambda s, c: s.replace(x=s.x * c), in_axes=(None, 0))(sample, jnp.arange(4.0))
    assert batched.x.shape == (4, 3) and batched.name == "a"
    assert jax.tree.map(lambda _: None, sample).name == "a"
    assert jax.tree.structure(sample) != jax.tree.structure(sample.replace(name="b"))


def test_one_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample(x=jnp.zeros(1), y=jnp.zeros(1)).x = jnp.ones(1)


def test_leaves_have_names_in_paths():
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(Sample(x=0, y=1))]
    assert paths == [".x", ".y"]


def test_each_new_shape_is_counted_once():
    double = counted_jit(lambda x: 2 * x, "double for a test")
    for n in (2, 3, 2, 3, 2):
        double(jnp.zeros(n))
    assert compilations()["double for a test"] == 2


def test_a_graph_survives_pickling_by_multiprocessing():
    graph = build_graph(systems.water(), SpeciesTable.from_numbers([1, 8]), [2.0])
    again = pickle.loads(pickle.dumps(graph))
    assert jax.tree.structure(again) == jax.tree.structure(graph)
