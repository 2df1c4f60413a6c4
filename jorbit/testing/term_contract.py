"""The contract of models and physics terms, checked on small systems in float64.

`check_term(MyTerm)` runs everything; `TERM_CHECKS` lists the single checks, so that a test run can show them apart.
A component opts out of nothing: where a check does not apply (no cutoff, no parameters) it has nothing to compare.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.graph import Graph
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Capacity, LinearTerm, Params
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph, capacity_for, round_up
from jorbit.potential.artefact import load, save
from jorbit.potential.derivatives import energy_and_derivatives, hessian_vector_product
from jorbit.potential.potential import Potential
from jorbit.testing import systems, transformations
from jorbit.testing.finite_difference import finite_difference, finite_difference_forces, finite_difference_virial
from jorbit.testing.requirements import require, require_close, require_finite
from jorbit.testing.systems import N_ATOMS, N_STRUCTURES, SPECIES, sample_systems


@dataclasses.dataclass(frozen=True, eq=False)
class TermCase:
    """A tiny instance of a term with random parameters, and its compiled functions.

    Attributes:
        name: for messages.
        potential: the term, after whatever it needs upstream.
        params: random, in float64.
        capacity: the padded sizes most checks share.
        predict: compiled energy_and_derivatives(potential, params, graph).
    """

    name: str
    potential: Potential
    params: Params
    capacity: Capacity
    predict: Callable[[Potential, Params, Graph], Prediction]

    @property
    def term(self) -> Any:
        """The term under test."""
        return self.potential.terms[-1]

    def graph(self, *structures: Structure, dtype: Any = jnp.float64, capacity: Capacity | None = None) -> Graph:
        """Structures in one graph of the shared capacity."""
        cutoffs = self.potential.cutoffs
        return build_graph(structures, SPECIES, cutoffs, capacity=capacity or self.capacity, dtype=dtype)

    def __call__(self, *structures: Structure) -> Prediction:
        """The padded prediction as numpy arrays."""
        return jax.tree.map(np.asarray, self.predict(self.potential, self.params, self.graph(*structures)))

    def energy(self, structure: Structure) -> float:
        """Energy of one structure, eV."""
        return float(self(structure).energy[0])


def term_case(cls: type, seed: int = 0) -> TermCase:
    """The tiny instance of a component with random parameters.

    Args:
        cls: a class with `tiny(n_species)`; and with `tiny_upstream(n_species)`, a tuple of terms, when it needs what
            earlier terms produce.
        seed: of the parameters.
    """
    with jax.enable_x64(True):
        require(hasattr(cls, "tiny"), f"{cls.__name__} has no classmethod tiny(n_species): its smallest instance.")
        term = cls.tiny(len(SPECIES))
        upstream = cls.tiny_upstream(len(SPECIES)) if term.needs.upstream else ()
        potential = Potential(terms=(*upstream, term), species=SPECIES)
        supercell = transformations.repeated(systems.triclinic_crystal(), (2, 1, 1))
        samples = [*sample_systems().values(), supercell]
        slots = capacity_for(samples, potential.cutoffs).n_slots
        capacity = Capacity(N_ATOMS, N_STRUCTURES, tuple(round_up(n + 2) for n in slots))
        graph = build_graph(systems.water(), SPECIES, potential.cutoffs, capacity=capacity, dtype=jnp.float64)
        params = perturbed(potential.init(jax.random.key(seed), graph), seed)
        name = cls.__name__
        predict = counted_jit(energy_and_derivatives, f"contract of {name}", static_argnums=0)
        return TermCase(name=name, potential=potential, params=params, capacity=capacity, predict=predict)


def perturbed(params: Params, seed: int = 0) -> Params:
    """Parameters moved by a tenth of their size, or by 0.3 where they are zero, so that nothing vanishes by chance."""
    rng = np.random.default_rng(seed)

    def move(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        if leaf.dtype.kind != "f":
            return leaf
        return np.asarray(leaf + np.where(leaf == 0, 0.3, 0.1 * np.abs(leaf)) * rng.normal(size=leaf.shape))

    return jax.tree.map(move, params)


def check_energies_are_invariant_and_forces_turn_along(case: TermCase) -> None:
    """Rotation, reflection, translation and permutation."""
    rng = np.random.default_rng(1)
    for label, s in sample_systems().items():
        before = case(s)
        n, scale = s.n_atoms, float(np.abs(before.forces).max())
        for proper in (True, False):
            turn = transformations.random_rotation(rng, proper=proper)
            after = case(transformations.rotated(s, turn))
            what = f"{case.name}, {label}: {'rotated' if proper else 'reflected'}"
            require_close(after.energies[:n], before.energies[:n], 1e-10, f"{what} energies")
            require_close(after.forces[:n], before.forces[:n] @ turn, 1e-9, f"{what} forces", scale=scale)
            require_close(after.stress[0], turn.T @ before.stress[0] @ turn, 1e-9, f"{what} stress")
        after = case(transformations.translated(s, np.array([11.3, -7.1, 0.4])))
        require_close(after.energies[:n], before.energies[:n], 1e-10, f"{case.name}, {label}: translated energies")
        require_close(after.forces[:n], before.forces[:n], 1e-9, f"{case.name}, {label}: translated forces")
        order = rng.permutation(n)
        after = case(transformations.permuted(s, order))
        require_close(after.energies[:n], before.energies[order], 1e-10, f"{case.name}, {label}: permuted energies")
        require_close(after.forces[:n], before.forces[order], 1e-9, f"{case.name}, {label}: permuted forces")


def check_padding_and_batching_change_nothing(case: TermCase) -> None:
    """Zero on padding; alone, in a batch and in other sizes the same numbers."""
    members = [systems.water(), systems.triclinic_crystal(), systems.rattled_silicon()]
    batch = case(*members)
    n_real = sum(s.n_atoms for s in members)
    for field in ("energies", "forces"):
        require(not np.any(getattr(batch, field)[n_real:]), f"{case.name}: {field} of padding atoms are not zero.")
    for field in ("energy", "stress"):
        require(not np.any(getattr(batch, field)[len(members) :]), f"{case.name}: {field} of padding is not zero.")
    start = 0
    for k, s in enumerate(members):
        alone, here = case(s), slice(start, start + s.n_atoms)
        start += s.n_atoms
        require_close(batch.energies[here], alone.energies[: s.n_atoms], 1e-12, f"{case.name}: batched energies")
        require_close(batch.forces[here], alone.forces[: s.n_atoms], 1e-12, f"{case.name}: batched forces")
        require_close(batch.stress[k], alone.stress[0], 1e-12, f"{case.name}: batched stress")
    roomy = Capacity(5, 1, tuple(2 * n for n in case.capacity.n_slots))
    graph = case.graph(systems.triclinic_crystal(), capacity=roomy)
    other, alone = case.predict(case.potential, case.params, graph), case(systems.triclinic_crystal())
    require_close(other.energies[:3], alone.energies[:3], 1e-12, f"{case.name}: energies in another capacity")
    require_close(other.forces[:3], alone.forces[:3], 1e-12, f"{case.name}: forces in another capacity")
    require_close(other.stress[0], alone.stress[0], 1e-12, f"{case.name}: stress in another capacity")


def check_first_and_second_derivatives_are_finite(case: TermCase) -> None:
    """Also for one atom, for two, and on padding; the Hessian agrees with differences of forces."""
    product = jax.jit(lambda graph, v: hessian_vector_product(case.potential, case.params, graph, v))
    samples = sample_systems() | {"one atom": systems.single_atom(), "two atoms": systems.dimer(1.1)}
    rng = np.random.default_rng(2)
    for label, s in samples.items():
        result = case(s)
        for field in ("energy", "energies", "forces", "stress"):
            require_finite(getattr(result, field), f"{case.name}, {label}: {field}")
        direction = np.zeros((N_ATOMS, 3))
        direction[: s.n_atoms] = rng.normal(size=(s.n_atoms, 3))
        got = np.asarray(product(case.graph(s), jnp.asarray(direction)))
        require_finite(got, f"{case.name}, {label}: Hessian times a vector")
        require(not np.any(got[s.n_atoms :]), f"{case.name}, {label}: Hessian rows of padding are not zero.")
        if label in ("water", "triclinic"):
            step = direction[: s.n_atoms]
            wanted = -finite_difference(lambda h, s=s, v=step: case(transformations.moved(s, h * v)).forces)
            require_close(got, wanted, 1e-6, f"{case.name}, {label}: Hessian against differences of forces")


def check_forces_and_stress_are_derivatives(case: TermCase) -> None:
    """Against central differences of the energy to 1e-6 relative, with neighbours searched anew for every value."""
    # Ewald's forces on a slab agree to 3e-6 only with sums of accuracy 1e-6: long-range terms are not asked yet.
    slabs = () if getattr(case.term, "is_long_range", False) else ("slab",)
    for label in ("water", "triclinic", *slabs):
        s = sample_systems()[label]
        got = case(s)
        wanted = finite_difference_forces(case.energy, s)
        require_close(got.forces[: s.n_atoms], wanted, 1e-6, f"{case.name}, {label}: forces")
    s = systems.triclinic_crystal()
    wanted = finite_difference_virial(case.energy, s) / s.volume
    require_close(case(s).stress[0], wanted, 1e-6, f"{case.name}: stress of a triclinic crystal")
    require_close(case(s).stress[0], case(s).stress[0].T, 1e-9, f"{case.name}: stress is symmetric")
    s = systems.rattled_silicon()
    direction = np.random.default_rng(3).normal(size=s.positions.shape)
    wanted = -finite_difference(lambda h: case.energy(transformations.moved(s, h * direction)))
    require_close(np.sum(case(s).forces[:8] * direction), wanted, 1e-6, f"{case.name}: forces of silicon")


def check_an_atom_crosses_the_cutoff_smoothly(case: TermCase) -> None:
    """Energy and forces do not jump when a third atom leaves the neighbourhood."""
    cutoff = case.term.needs.cutoff
    if cutoff is None:
        return
    scan = [case(systems.crossing_trimer(x * cutoff)) for x in (0.5, 0.6, 0.7, 0.8, 0.9)]
    inside, outside = (case(systems.crossing_trimer(cutoff + d)) for d in (-1e-5, 1e-5))
    energy_scale = max(abs(float(p.energy[0] - outside.energy[0])) for p in scan)
    force_scale = max(float(np.abs(p.forces[2]).max()) for p in scan)
    require(energy_scale > 0, f"{case.name}: an atom inside the cutoff makes no difference at all.")
    require_close(inside.energy, outside.energy, 1e-4, f"{case.name}: energy at the cutoff", scale=energy_scale)
    require_close(inside.forces, outside.forces, 1e-3, f"{case.name}: forces at the cutoff", scale=force_scale)


def check_energy_is_extensive(case: TermCase) -> None:
    """A supercell has the energy of its cells; molecules far apart have the sum of theirs."""
    s = systems.triclinic_crystal()
    one, two = case(s), case(transformations.repeated(s, (2, 1, 1)))
    require_close(two.energy[0], 2 * one.energy[0], 1e-11, f"{case.name}: energy of a supercell")
    require_close(two.forces[3:6], one.forces[:3], 1e-10, f"{case.name}: forces in a supercell")
    require_close(two.stress[0], one.stress[0], 1e-10, f"{case.name}: stress of a supercell")
    w = systems.water()
    far = Structure(
        positions=np.concatenate([w.positions, w.positions + np.array([[500.0, 0.0, 0.0]])]),
        numbers=np.tile(w.numbers, 2),
    )
    # Two dipoles of 1 e Å 500 Å apart still share 2e-7 eV.
    is_local = case.term.needs.cutoff is not None or not case.term.needs.upstream
    tolerance = 1e-10 if is_local and not getattr(case.term, "is_long_range", False) else 1e-4
    require_close(case(far).energy[0], 2 * case(w).energy[0], tolerance, f"{case.name}: two molecules far apart")


def check_energies_look_no_farther_than_layers_of_messages(case: TermCase) -> None:
    """In a chain of atoms the first one does not feel what happens beyond `Needs.layers` links."""
    layers, cutoff = case.term.needs.layers, case.term.needs.cutoff
    if layers is None:
        return
    links = layers if cutoff is not None else 0
    n, spacing = min(links + 4, N_ATOMS), 0.7 * (cutoff or 2.0)
    require(n > links + 1, f"{case.name}: tiny() has {layers} layers of messages; wanted at most {N_ATOMS - 2}.")
    rng = np.random.default_rng(5)
    positions = spacing * np.arange(n)[:, None] * np.array([0.6, 0.0, 0.8]) + 0.05 * spacing * rng.normal(size=(n, 3))
    numbers = np.array(SPECIES.numbers)[np.arange(n) % len(SPECIES)]
    moved = positions.copy()
    moved[links + 1 :] += 0.05 * spacing * rng.normal(size=(n - links - 1, 3))
    before, after = (case(Structure(positions=p, numbers=numbers)).energies[0] for p in (positions, moved))
    what = f"{case.name}: the energy of an atom feels more than Needs.layers = {layers} links of a chain"
    require_close(after, before, 1e-12, what, scale=max(1.0, abs(float(before))))


def check_structures_of_a_batch_do_not_feel_each_other(case: TermCase) -> None:
    """The energy of one structure has no gradient with respect to another."""
    graph = case.graph(systems.water(), systems.triclinic_crystal())

    def second_energy(positions: jax.Array) -> jax.Array:
        return case.potential.energy(case.params, dataclasses.replace(graph, positions=positions))[1]

    gradient = np.asarray(jax.jit(jax.grad(second_energy))(graph.positions))
    outside = np.ones(N_ATOMS, dtype=bool)
    outside[3:6] = False
    require(not np.any(gradient[outside]), f"{case.name}: a structure's energy depends on another structure's atoms.")


def check_float32_is_close_to_float64(case: TermCase) -> None:
    """Within 1e-4 of the largest number of each kind, and in the dtype of the positions."""
    members = [systems.water(), systems.triclinic_crystal(), systems.rattled_silicon()]
    double = case(*members)
    single = case.predict(case.potential, case.params, case.graph(*members, dtype=jnp.float32))
    for field in ("energies", "forces", "stress"):
        values = getattr(single, field)
        require(values.dtype == jnp.float32, f"{case.name}: {field} of a float32 graph are {values.dtype}.")
        require_close(values, getattr(double, field), 1e-4, f"{case.name}: {field} in float32")


def check_a_saved_term_comes_back_bit_for_bit(case: TermCase) -> None:
    """Options, parameters and predictions."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "term.safetensors"
        save(path, case.potential, case.params)
        potential, params = load(path)
    require(potential == case.potential, f"{case.name}: options changed in a model file.")
    graph = case.graph(systems.water(), systems.triclinic_crystal())
    before, after = case.predict(case.potential, case.params, graph), case.predict(potential, params, graph)
    for mine, theirs in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        require(np.asarray(mine).tobytes() == np.asarray(theirs).tobytes(), f"{case.name}: other bits after loading.")


def check_one_capacity_is_traced_once(case: TermCase) -> None:
    """New structures, new parameters and an equal potential do not compile again."""
    counter = f"contract of {case.name}"
    case(systems.water())
    before = compilations()[counter]
    case(systems.rattled_silicon(), systems.water())
    terms: Any = case.potential.terms
    equal = Potential(terms=tuple(dataclasses.replace(t) for t in terms), species=SPECIES)
    require(equal == case.potential and hash(equal) == hash(case.potential), f"{case.name}: equal terms are not equal.")
    case.predict(equal, perturbed(case.params, 5), case.graph(systems.triclinic_crystal()))
    require(compilations()[counter] == before, f"{case.name}: the same shapes were compiled again.")


def check_parameters_can_be_mapped_over(case: TermCase) -> None:
    """`vmap` over two sets of parameters gives what two calls give: ensembles cost one compilation."""
    if not jax.tree.leaves(case.params):
        return
    several = [case.params, perturbed(case.params, 6)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *several)
    graph = case.graph(systems.water(), systems.triclinic_crystal())
    got = jax.jit(jax.vmap(lambda params: case.potential.energy(params, graph)))(stacked)
    wanted = [np.asarray(case.predict(case.potential, params, graph).energy) for params in several]
    require_close(got, np.stack(wanted), 1e-10, f"{case.name}: vmap over parameters")


def check_the_loss_falls_when_parameters_follow_its_gradient(case: TermCase) -> None:
    """Twenty steps of gradient descent bring energies (and charges) nearer to those of other parameters."""
    if not jax.tree.leaves(case.params):
        return
    graph = case.graph(systems.water(), systems.triclinic_crystal(), systems.rattled_silicon())
    target = case.predict(case.potential, perturbed(case.params, 7), graph)

    def loss(params: Params) -> jax.Array:
        outputs = case.potential.outputs(params, graph)
        value = jnp.mean((outputs.energy - target.energies) ** 2)
        if outputs.charges is not None and target.charges is not None:
            value = value + jnp.mean((outputs.charges - target.charges) ** 2)
        return value

    value_and_grad = jax.jit(jax.value_and_grad(loss, allow_int=True))
    params = jax.tree.map(jnp.asarray, case.params)
    first, gradient = value_and_grad(params)
    value, rate = first, 1.0
    for _ in range(20):
        while rate > 1e-12:
            trial = jax.tree.map(lambda p, g, rate=rate: p - rate * g if _is_float(p) else p, params, gradient)
            new_value, new_gradient = value_and_grad(trial)
            if new_value < value:
                params, value, gradient, rate = trial, new_value, new_gradient, 2.0 * rate
                break
            rate *= 0.5
    require_finite(value, f"{case.name}: loss")
    require(value < 0.7 * first, f"{case.name}: loss went from {first:.3g} to {value:.3g} only in 20 steps.")


def _is_float(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def check_design_rows_are_the_linear_term(case: TermCase) -> None:
    """For linear terms: rows times the flat parameters are energy, forces and dE/dε."""
    if not isinstance(case.term, LinearTerm):
        return
    vector = np.random.default_rng(8).normal(size=case.term.n_parameters)
    require(np.shape(case.term.prior_scale()) == vector.shape, f"{case.name}: one prior scale per parameter.")
    params = case.params | {case.potential.names[-1]: case.term.unflatten(vector)}
    design = jax.jit(lambda graph: dataclasses.astuple(case.term.design(graph)))
    for label in ("water", "triclinic", "silicon"):
        s = sample_systems()[label]
        one = Capacity(N_ATOMS, 1, case.capacity.n_slots)
        graph = case.graph(s, capacity=one)
        (energy, forces, virial), wanted = design(graph), case.predict(case.potential, params, graph)
        what = f"{case.name}, {label}: design rows of the"
        require_close(energy @ vector, wanted.energy[0], 1e-10, f"{what} energy")
        require_close(forces @ vector, wanted.forces, 1e-9, f"{what} forces")
        if s.pbc.all():
            require_close(virial @ vector, wanted.stress[0] * s.volume, 1e-9, f"{what} strain derivative")


TERM_CHECKS: tuple[Callable[[TermCase], None], ...] = (
    check_energies_are_invariant_and_forces_turn_along,
    check_padding_and_batching_change_nothing,
    check_first_and_second_derivatives_are_finite,
    check_forces_and_stress_are_derivatives,
    check_an_atom_crosses_the_cutoff_smoothly,
    check_energy_is_extensive,
    check_energies_look_no_farther_than_layers_of_messages,
    check_structures_of_a_batch_do_not_feel_each_other,
    check_float32_is_close_to_float64,
    check_a_saved_term_comes_back_bit_for_bit,
    check_one_capacity_is_traced_once,
    check_parameters_can_be_mapped_over,
    check_the_loss_falls_when_parameters_follow_its_gradient,
    check_design_rows_are_the_linear_term,
)


def knows_one_system(cls: type) -> bool:
    """Whether a term is for one system only; long-range terms look at structures, too, but at any."""
    return hasattr(cls, "check_structure") and not getattr(cls, "is_long_range", False)


def check_term(cls: type, seed: int = 0) -> None:
    """Run a registered model or physics term through its whole contract.

    A term that knows one system only has its own (`jorbit.testing.system_contract`).

    Args:
        cls: the component's class.
        seed: of its random parameters.

    Raises:
        ContractError: says which promise is broken, and by how much.

    Example:
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
        >>> check_term(ReferenceEnergy)
    """
    from jorbit.testing.system_contract import SYSTEM_CHECKS  # which builds on this module

    case = term_case(cls, seed)
    with jax.enable_x64(True):
        for check in SYSTEM_CHECKS if knows_one_system(cls) else TERM_CHECKS:
            check(case)
