"""The contract of terms that know one system only (`jorbit.core.protocols.SystemTerm`), in float64.

What holds for sums of atomic energies (any structure, any order, extensivity) is not asked of them: they are compared
with themselves on the molecule that their tiny instance is for, turned, moved, batched and padded.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.protocols import Capacity
from jorbit.core.structure import Structure
from jorbit.potential.artefact import load, save
from jorbit.potential.derivatives import hessian_vector_product
from jorbit.testing import systems, transformations
from jorbit.testing.finite_difference import finite_difference, finite_difference_forces
from jorbit.testing.requirements import require, require_close, require_finite
from jorbit.testing.systems import N_ATOMS
from jorbit.testing.term_contract import TermCase, perturbed


def _molecules() -> list[Structure]:
    rng = np.random.default_rng(4)
    water = systems.water()
    return [transformations.moved(water, 0.1 * rng.normal(size=(3, 3))) for _ in range(3)]


def check_energy_is_invariant_and_forces_turn_along(case: TermCase) -> None:
    """Rotation, reflection and translation of the whole."""
    rng = np.random.default_rng(1)
    s = _molecules()[0]
    before = case(s)
    for proper in (True, False):
        turn = transformations.random_rotation(rng, proper=proper)
        after = case(transformations.rotated(s, turn))
        require_close(after.energy[0], before.energy[0], 1e-10, f"{case.name}: energy, turned")
        require_close(after.forces[:3], before.forces[:3] @ turn, 1e-9, f"{case.name}: forces, turned")
    after = case(transformations.translated(s, np.array([11.3, -7.1, 0.4])))
    require_close(after.energy[0], before.energy[0], 1e-10, f"{case.name}: energy, moved")
    require_close(after.forces[:3], before.forces[:3], 1e-9, f"{case.name}: forces, moved")


def check_padding_and_batching_change_nothing(case: TermCase) -> None:
    """Alone, in a batch and in other sizes the same numbers; zero on padding."""
    members = _molecules()
    batch = case(*members)
    require(not np.any(batch.energies[9:]) and not np.any(batch.forces[9:]), f"{case.name}: padding has energies.")
    for k, s in enumerate(members):
        alone, here = case(s), slice(3 * k, 3 * k + 3)
        require_close(batch.energy[k], alone.energy[0], 1e-12, f"{case.name}: batched energy")
        require_close(batch.forces[here], alone.forces[:3], 1e-12, f"{case.name}: batched forces")
    other = case.predict(case.potential, case.params, case.graph(members[0], capacity=Capacity(4, 1, ())))
    require_close(other.forces[:3], case(members[0]).forces[:3], 1e-12, f"{case.name}: forces in another capacity")


def check_forces_and_hessian_are_derivatives(case: TermCase) -> None:
    """Against central differences; the Hessian is finite on padding too."""
    s = _molecules()[1]
    wanted = finite_difference_forces(case.energy, s)
    require_close(case(s).forces[:3], wanted, 1e-6, f"{case.name}: forces")
    direction = np.zeros((N_ATOMS, 3))
    direction[:3] = np.random.default_rng(2).normal(size=(3, 3))
    product = jax.jit(lambda graph, v: hessian_vector_product(case.potential, case.params, graph, v))
    got = np.asarray(product(case.graph(s), jnp.asarray(direction)))
    require_finite(got, f"{case.name}: Hessian times a vector")
    require(not np.any(got[3:]), f"{case.name}: Hessian rows of padding are not zero.")
    wanted = -finite_difference(lambda h: case(transformations.moved(s, h * direction[:3])).forces)
    require_close(got, wanted, 1e-6, f"{case.name}: Hessian against differences of forces")


def check_molecules_of_a_batch_do_not_feel_each_other(case: TermCase) -> None:
    """The energy of one has no gradient with respect to another."""
    graph = case.graph(*_molecules())

    def second_energy(positions: jax.Array) -> jax.Array:
        return case.potential.energy(case.params, dataclasses.replace(graph, positions=positions))[1]

    gradient = np.asarray(jax.jit(jax.grad(second_energy))(graph.positions))
    outside = np.ones(N_ATOMS, dtype=bool)
    outside[3:6] = False
    require(not np.any(gradient[outside]), f"{case.name}: a molecule's energy depends on another one's atoms.")
    require(np.any(gradient[3:6]), f"{case.name}: a molecule's energy does not depend on its own atoms.")


def check_other_systems_are_refused(case: TermCase) -> None:
    """On the host with an error, in compiled code with NaN; never with a number."""
    water = systems.water()
    copies = water.positions[[0, 1, 1]]
    wrong: dict[str, Structure] = {
        "another system": systems.rattled_silicon(),
        "another order": transformations.permuted(water, np.array([1, 0, 2])),
        "two atoms at one place": Structure(positions=copies, numbers=water.numbers),
    }
    for what, structure in wrong.items():
        try:
            case.potential.graph(structure, dtype=jnp.float64)
        except StructureError:
            continue
        require(False, f"{case.name}: {what} is not refused.")
    result = case(wrong["another order"], water)
    require(np.isnan(result.energy[0]) and np.isnan(result.forces[:3]).all(), f"{case.name}: another order has forces.")
    require(np.isfinite(result.energy[1]) and np.isfinite(result.forces[3:]).all(), f"{case.name}: NaN spreads.")


def check_float32_is_refused_or_close(case: TermCase) -> None:
    """A term that needs float64 says so."""
    graph: Any = case.graph(systems.water(), dtype=jnp.float32)
    if not case.term.needs.float64:
        single = case.predict(case.potential, case.params, graph)
        require_close(single.forces[:3], case(systems.water()).forces[:3], 1e-4, f"{case.name}: forces in float32")
        return
    try:
        case.predict(case.potential, case.params, graph)
    except ConfigError as error:
        require("float64" in str(error), f"{case.name}: the refusal of float32 does not say what to use.")
        return
    require(False, f"{case.name}: float32 is not refused.")


def check_a_saved_model_predicts_the_same_bits(case: TermCase) -> None:
    """Options, parameters and predictions."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "term.safetensors"
        save(path, case.potential, case.params)
        potential, params = load(path)
    require(potential == case.potential, f"{case.name}: options changed in a model file.")
    graph = case.graph(*_molecules())
    before, after = case.predict(case.potential, case.params, graph), case.predict(potential, params, graph)
    for mine, theirs in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        require(np.asarray(mine).tobytes() == np.asarray(theirs).tobytes(), f"{case.name}: other bits after loading.")


def check_one_size_is_traced_once(case: TermCase) -> None:
    """Other molecules and other parameters do not compile again."""
    counter = f"contract of {case.name}"
    case(systems.water())
    before = compilations()[counter]
    case(*_molecules())
    case.predict(case.potential, perturbed(case.params, 5), case.graph(systems.water()))
    require(compilations()[counter] == before, f"{case.name}: the same shapes were compiled again.")


def check_the_energy_has_gradients_by_parameters(case: TermCase) -> None:
    """Against differences along a random direction in all parameters that are numbers."""
    graph = case.graph(systems.water())
    rng = np.random.default_rng(3)
    leaves, tree = jax.tree.flatten(case.params)
    steps = [rng.normal(size=np.shape(a)) * (np.asarray(a).dtype.kind == "f") for a in leaves]

    def energy(h: Any) -> Any:
        values = [a + h * v if np.asarray(a).dtype.kind == "f" else a for a, v in zip(leaves, steps, strict=True)]
        return case.potential.energy(jax.tree.unflatten(tree, values), graph)[0]

    compiled = jax.jit(energy)
    got = jax.jit(jax.grad(energy))(0.0)
    wanted = finite_difference(lambda h: np.asarray(compiled(h)))
    require_close(got, wanted, 1e-6, f"{case.name}: derivative of the energy by its parameters")


SYSTEM_CHECKS: tuple[Callable[[TermCase], None], ...] = (
    check_energy_is_invariant_and_forces_turn_along,
    check_padding_and_batching_change_nothing,
    check_forces_and_hessian_are_derivatives,
    check_molecules_of_a_batch_do_not_feel_each_other,
    check_other_systems_are_refused,
    check_float32_is_refused_or_close,
    check_a_saved_model_predicts_the_same_bits,
    check_one_size_is_traced_once,
    check_the_energy_has_gradients_by_parameters,
)
