"""Derivatives of what a simulation measures, with respect to parameters.

* `trajectory`: backwards through every step, with checkpoints, so that memory grows with the root of the steps. Exact,
  but chaotic motion makes gradients explode after a few hundred femtoseconds to picoseconds.
* `reweighted` averages: the frames of one run stand for the ensemble of nearby parameters. Nothing is differentiated in
  time, so runs may be as long as they need to be.
* diffusion constants, which depend on parameters in both ways: `jorbit.simulate.transport`.
* `relaxed_positions` and `relaxed_volume`: where a minimum goes, by the implicit function theorem.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, apply_strain
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph, capacity_for
from jorbit.graphs.neighbors import find_pairs
from jorbit.potential.potential import Potential


def trajectory(
    force_fn: Callable[..., Array],
    params: Params,
    positions: Float[Array, "atoms 3"],
    momenta: Float[Array, "atoms 3"],
    masses: Float[Array, "atoms 1"],
    *,
    dt: float,
    n_steps: int,
    segment: int | None = None,
    neighbors: Any = None,
) -> tuple[Float[Array, "atoms 3"], Float[Array, "atoms 3"], Float[Array, "records atoms 3"]]:
    """Velocity Verlet that can be differentiated: with respect to `params`, positions and momenta.

    Steps are grouped into segments; only the ends of segments are kept, and each is run again on the way back.

    Args:
        force_fn: (params, positions) -> forces, or (params, positions, neighbors) -> forces.
        params: anything `force_fn` takes.
        positions, momenta, masses: at the start.
        dt: time step, in the unit in which the others are consistent (fs times `jorbit.core.units.FS`).
        n_steps: how many.
        segment: steps per segment, which must divide `n_steps`; about the root when not given.
        neighbors: a list (`jorbit.to_jax_md`) that is updated at every step, for atoms that go far.

    Returns:
        Positions and momenta at the end, and positions at the end of each segment.

    Raises:
        ConfigError: a segment that does not divide the steps.

    Example:
        >>> spring = lambda k, r: -k * r
        >>> one = jnp.ones((1, 3))
        >>> def end(k):
        ...     return trajectory(spring, k, one, 0.0 * one, one[:, :1], dt=0.01, n_steps=100)[0]
        >>> round(float(jax.jacobian(end)(1.0)[0, 0]), 2)  # d cos(sqrt(k) t) / dk = -t sin(t) / 2
        -0.42
    """
    size = segment or max(k for k in range(1, int(np.sqrt(n_steps)) + 1) if n_steps % k == 0)
    if n_steps % size:
        raise ConfigError(f"Wanted a segment that divides n_steps, got {size} and {n_steps}.")

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        r, p, f, *lists = state
        p = p + 0.5 * dt * f
        r = r + dt * p / masses
        lists = [known.update(r) for known in lists]
        f = force_fn(params, r, *lists)
        return (r, p + 0.5 * dt * f, f, *lists), None

    @jax.checkpoint
    def run_segment(state: tuple, _: None) -> tuple[tuple, Array]:
        state, _ = jax.lax.scan(step, state, None, length=size)
        return state, state[0]

    lists = () if neighbors is None else (neighbors,)
    state = (positions, momenta, force_fn(params, positions, *lists), *lists)
    (r, p, *_), kept = jax.lax.scan(run_segment, state, None, length=n_steps // size)
    return r, p, kept


@dataclasses.dataclass(frozen=True, eq=False)
class Reweighting:
    """Frames of one ensemble, as a model of the ensembles of other parameters; made by `Reweighting.of`.

    Attributes:
        potential: a Potential, or anything else with energy(params, graph).
        graphs: one per frame, stacked.
        reference: energies with the parameters the frames were made with, eV.
        kT: of the run, eV.

    References:
        Thaler, Zavadlav, Nat. Commun. 12, 6884 (2021).
    """

    potential: Any
    graphs: Any
    reference: Float[Array, " frames"]
    kT: Any

    @classmethod
    def of(
        cls, potential: Potential, params: Params, frames: Sequence[Structure], kT: float, dtype: Any = None
    ) -> "Reweighting":
        """From decorrelated frames of a run at constant temperature and volume, and the parameters of that run.

        Args:
            potential: sum of terms.
            params: those the frames were made with.
            frames: of one system.
            kT: of the run, eV.
            dtype: float type of the energies; JAX's default when not given.
        """
        frames = potential.labelled(frames)
        capacity = capacity_for(frames, potential.cutoffs)
        one = dataclasses.replace(capacity_for(frames[:1], potential.cutoffs), n_slots=capacity.n_slots)
        graphs = [build_graph(f, potential.species, potential.cutoffs, capacity=one, dtype=dtype) for f in frames]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *graphs)
        made = cls(potential, stacked, jnp.zeros(len(frames)), kT)
        return dataclasses.replace(made, reference=made.energies(params))

    def energies(self, params: Params) -> Float[Array, " frames"]:
        """Of every frame, eV; one after the other, so that memory does not grow with the frames."""
        total = jax.checkpoint(lambda graph: self.potential.energy(params, graph).sum())
        return jax.lax.map(total, self.graphs)

    def weights(self, params: Params) -> Float[Array, " frames"]:
        """exp(-(E(params) - E(reference)) / kT), normalised to sum 1."""
        return jax.nn.softmax(-(self.energies(params) - self.reference) / self.kT)

    def average(self, params: Params, values: Float[Array, " frames *rest"]) -> Float[Array, " *rest"]:
        """Mean of an observable (one value per frame) in the ensemble of `params`; its derivative is exact.

        d<A>/dp = -(<A dE/dp> - <A><dE/dp>) / kT comes out by differentiating the weights.
        """
        return jnp.tensordot(self.weights(params), values, axes=1)

    def effective_frames(self, params: Params) -> Float[Array, ""]:
        """How many frames the weights are worth (exp of their entropy); make new frames when they are few."""
        w = self.weights(params)
        return jnp.exp(-jnp.sum(jnp.where(w > 0, w * jnp.log(jnp.where(w > 0, w, 1.0)), 0.0)))


def pair_histograms(frames: Sequence[Structure], r_max: float, n_bins: int) -> Float[np.ndarray, "frames bins"]:
    """g(r) of every single frame, all atoms alike: values for `Reweighting.average`.

    Args:
        frames: of one system, periodic in three directions.
        r_max: Å.
        n_bins: of equal width.

    Example:
        >>> crystal = Structure(positions=np.zeros((1, 3)), numbers=np.array([18]), cell=3.1 * np.eye(3))
        >>> crystal = dataclasses.replace(crystal, pbc=np.ones(3, bool))
        >>> g = pair_histograms([crystal], 4.0, 4)[0]  # six neighbours at 3.1 Å, in a shell of 37 times 4.189 Å^3
        >>> print(np.round(g * 37 * 4.18879 / 3.1**3, 2))
        [0. 0. 0. 6.]
    """
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    rows = []
    for frame in frames:
        counts = np.histogram(find_pairs(frame, r_max).distances, edges)[0]
        rows.append(counts * frame.volume / (frame.n_atoms**2 * shells))
    return np.array(rows)


def relaxed_positions(
    potential: Potential, params: Params, graph: Graph, *, tolerance: float = 1e-10
) -> Float[Array, "atoms 3"]:
    """Positions of a minimum as a function of the parameters: the value is `graph.positions`, the derivative exact.

    At a minimum dE/dr (r, p) = 0, so dr/dp = -H^-1 d2E/dr dp; H is applied by Hessian-vector products in conjugate
    gradients, translations left out. The graph must be relaxed.

    Args:
        potential: sum of terms.
        params: its parameters.
        graph: one structure at its minimum; neighbour lists must hold around it.
        tolerance: of the conjugate gradients, relative.
    """

    @jax.custom_jvp
    def minimum(p: Params) -> Array:
        return graph.positions

    def gradient(p: Params, r: Array) -> Array:
        return jax.grad(lambda x: potential.energy(p, dataclasses.replace(graph, positions=x)).sum())(r)

    def rest(v: Array) -> Array:
        v = jnp.where(graph.atom_mask[:, None], v, 0.0)
        return jnp.where(graph.atom_mask[:, None], v - v.sum(axis=0) / graph.atom_mask.sum(), 0.0)

    @minimum.defjvp
    def derivative(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        (p,), (dp,) = primals, tangents
        _, push = jax.jvp(lambda q: gradient(q, graph.positions), (p,), (dp,))

        def curvature(v: Array) -> Array:
            return rest(jax.jvp(lambda r: gradient(p, r), (graph.positions,), (rest(v),))[1])

        moved = jax.lax.custom_linear_solve(
            curvature,
            rest(push),
            lambda a, b: jax.scipy.sparse.linalg.cg(a, b, tol=tolerance, maxiter=30 * graph.n_atoms)[0],
            symmetric=True,
        )
        return graph.positions, -rest(moved)

    return minimum(params)


def relaxed_scale(potential: Potential, params: Params, graph: Graph) -> Float[Array, ""]:
    """Linear scale of the cell at its minimum, 1, with its derivative: d(lattice constant)/dp = a times it.

    Atoms follow the cell (right for crystals whose atoms symmetry holds in place). The graph must be relaxed.

    Args:
        potential: sum of terms.
        params: its parameters.
        graph: one crystal at the minimum of its energy with respect to volume.
    """

    @jax.custom_jvp
    def minimum(p: Params) -> Array:
        return jnp.ones((), graph.positions.dtype)

    def slope(p: Params, scale: Array) -> Array:
        def energy(x: Array) -> Array:
            strain = jnp.broadcast_to((x - 1.0) * jnp.eye(3, dtype=x.dtype), graph.cell.shape)
            return potential.energy(p, apply_strain(graph, strain)).sum()

        return jax.grad(energy)(scale)

    @minimum.defjvp
    def derivative(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        (p,), (dp,) = primals, tangents
        one = jnp.ones((), graph.positions.dtype)
        _, push = jax.jvp(lambda q: slope(q, one), (p,), (dp,))
        return one, -push / jax.grad(lambda x: slope(p, x))(one)

    return minimum(params)
