"""Elastic constants with relaxed atoms, from exact second derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.graph import Graph, apply_strain
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import GPA
from jorbit.potential.derivatives import hessian
from jorbit.potential.potential import Potential

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_MOST_STRESS = 0.5 * GPA


@dataclasses.dataclass(frozen=True, eq=False)
class ElasticConstants:
    """Second derivatives of the energy per volume with respect to strain, Voigt order xx yy zz yz xz xy.

    Attributes:
        constants: with relaxed atoms, eV/Å^3.
        clamped: with atoms that follow the strain, eV/Å^3.
        stress: where they were computed, eV/Å^3.
    """

    constants: Float[np.ndarray, "6 6"]
    clamped: Float[np.ndarray, "6 6"]
    stress: Float[np.ndarray, "3 3"]

    @property
    def gpa(self) -> Float[np.ndarray, "6 6"]:
        """Relaxed constants in GPa."""
        return self.constants / GPA

    @property
    def bulk_modulus(self) -> float:
        """Hill's mean of the bounds of Voigt and Reuss, eV/Å^3."""
        compliance = np.linalg.inv(self.constants)
        return 0.5 * float(self.constants[:3, :3].mean() + 1.0 / compliance[:3, :3].sum())

    @property
    def shear_modulus(self) -> float:
        """Hill's mean of the bounds of Voigt and Reuss, eV/Å^3."""
        c, s = self.constants, np.linalg.inv(self.constants)

        def parts(m: np.ndarray) -> tuple[float, float, float]:
            return np.trace(m[:3, :3]), m[0, 1] + m[0, 2] + m[1, 2], np.trace(m[3:, 3:])

        (a, b, d), (p, q, r) = parts(c), parts(s)
        return 0.5 * float((a - b + 3 * d) / 15 + 15 / (4 * p - 4 * q + 3 * r))

    @property
    def young_modulus(self) -> float:
        """Of the polycrystal, eV/Å^3."""
        b, g = self.bulk_modulus, self.shear_modulus
        return 9 * b * g / (3 * b + g)

    @property
    def poisson_ratio(self) -> float:
        """Of the polycrystal."""
        b, g = self.bulk_modulus, self.shear_modulus
        return (3 * b - 2 * g) / (6 * b + 2 * g)

    def young_along(self, directions: Float[np.ndarray, "directions 3"]) -> Float[np.ndarray, " directions"]:
        """Young's modulus of the single crystal pulled along directions (any length), eV/Å^3."""
        n = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        # The strain that a unit stress n n makes, seen along n: shear strains are twice the tensor's, and count once.
        stress = np.stack([n[:, a] * n[:, b] for a, b in _VOIGT], axis=1)
        return 1.0 / np.einsum("ni,ij,nj->n", stress, np.linalg.inv(self.constants), stress)

    @property
    def is_stable(self) -> bool:
        """Whether every small strain costs energy (Born)."""
        return bool(np.linalg.eigvalsh(self.constants).min() > 0)


def elastic_constants(potential: Potential, params: Params, structure: Structure) -> ElasticConstants:
    """Elastic constants of a relaxed crystal, without any finite strain.

    With E(strain, displacements), C V = E_ss - E_su E_uu^-1 E_us: what the strain costs, less what the atoms gain by
    moving. The derivatives are exact; the inverse leaves translations out.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: with cell and atoms relaxed; the Hessian is dense, so a few hundred atoms at most.

    Raises:
        ConfigError: no full cell.
        SimulationError: stress is left (relax the cell), or the atoms are not at a minimum.

    References:
        Born, Huang, Dynamical Theory of Crystal Lattices, Oxford University Press (1954).
    """
    if not np.all(structure.pbc):
        raise ConfigError("Elastic constants need a cell that repeats in all three directions.")
    structure = potential.labelled([structure.check()])[0]
    with jax.enable_x64(True):
        graph = potential.graph(structure, dtype="float64")
        stress, strained, mixed, second = (np.asarray(x) for x in _derivatives(potential, params, graph))
    if np.abs(stress).max() > _MOST_STRESS:
        raise SimulationError(
            f"A stress of {np.abs(stress).max() / GPA:.3g} GPa is left: elastic constants are for a relaxed cell. "
            "Relax it first (jorbit relax --cell)."
        )
    n = structure.n_atoms
    values, vectors = np.linalg.eigh(second.reshape(graph.n_atoms * 3, -1)[: 3 * n, : 3 * n])
    kept = np.sort(np.argsort(np.abs(values))[3:])  # three translations cost nothing
    if len(kept) and values[kept].min() <= 0:
        raise SimulationError(
            f"The atoms are at a saddle (curvature {values[kept].min():.3g} eV/Å^2): displace them a little and relax."
        )
    pull = mixed.reshape(6, -1)[:, : 3 * n] @ vectors[:, kept]
    gain = pull @ (pull / values[kept]).T
    return ElasticConstants(
        constants=(strained - gain) / structure.volume, clamped=strained / structure.volume, stress=stress
    )


def _energy(potential: Potential, params: Params, graph: Graph, strain: Array, positions: Array) -> Array:
    """Energy with a strain in Voigt order (off-diagonal ones are twice the tensor's)."""
    tensor = jnp.zeros((3, 3), positions.dtype)
    for k, (a, b) in enumerate(_VOIGT):
        half = strain[k] if a == b else 0.5 * strain[k]
        tensor = tensor.at[a, b].set(half).at[b, a].set(half)
    moved = dataclasses.replace(graph, positions=positions)
    # Second derivatives with respect to this strain and Lagrange's differ by terms with the stress, which is near zero.
    return potential.energy(params, apply_strain(moved, jnp.broadcast_to(tensor, graph.cell.shape))).sum()


def _all_derivatives(potential: Potential, params: Params, graph: Graph) -> tuple[Array, Array, Array, Array]:
    """Stress, d2E / ds ds, d2E / ds du, d2E / du du."""
    none = jnp.zeros(6, graph.positions.dtype)

    def both(strain: Array) -> tuple[Array, Array]:
        return jax.grad(lambda s, r: _energy(potential, params, graph, s, r), argnums=(0, 1))(strain, graph.positions)

    first = both(none)[0]
    columns = [jax.jvp(both, (none,), (jnp.eye(6, dtype=none.dtype)[k],))[1] for k in range(6)]
    volume = jnp.abs(jnp.linalg.det(graph.cell[0]))
    stress = jnp.stack([first[k] for k in (0, 5, 4, 5, 1, 3, 4, 3, 2)]).reshape(3, 3) / volume
    return (
        stress,
        jnp.stack([c[0] for c in columns]),
        jnp.stack([c[1] for c in columns]),
        hessian(potential, params, graph),
    )


_derivatives = jax.jit(_all_derivatives, static_argnums=0)
