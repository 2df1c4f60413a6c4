"""The watchman: looks at uncertainty or extrapolation during a simulation, inside the compiled steps.

`Watch` says what to look at and when to act; `run(..., watch=Watch(...))` does the rest. Grades are computed every few
steps on the device. A step that crosses `stop_above` is the last one: the state stands still from there, so that no
step is made that nobody knows anything about. The host's side is `jorbit.simulate.watch_report`.
"""

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.pytree import pytree
from jorbit.potential.uncertainty import Grade, LinearUncertainty, Uncertainty
from jorbit.simulate.integrators import ForcesWithEnergy, Integrator
from jorbit.simulate.jax_md import EnergyFunction

QUANTITIES = {"energy": "eV", "forces": "eV/Å", "atoms": ""}
# Coefficients up to which a linear uncertainty is used as it is, and the random directions that stand for more. Forces
# cost a reverse pass for each.
_EXACT = {"energy": 256, "forces": 8, "atoms": 256}
_DIRECTIONS = {"energy": 64, "forces": 8, "atoms": 64}


@dataclasses.dataclass(frozen=True, eq=False)
class Watch:
    """What a simulation watches.

    A run that goes on from a checkpoint must watch as before; only `stop_above` may be another.

    Attributes:
        grade: an uncertainty or an extrapolation grade.
        quantity: "energy" (standard deviation of the total energy, eV), "forces" (largest of a force component, eV/Å)
            or "atoms" (largest grade of an atom). None: the energy of uncertainties, the atoms of other grades.
        stop_above: the run ends at the first step looked at whose value is larger.
        record_above: structures with larger values are kept, the worst of each block of steps.
        record_to: extxyz file for them, written as they come; the value stands under "grade". None: in memory.
        every: steps between two looks. None: 20, and 50 for forces, whose derivatives cost more than a step does.
        rank: random directions that stand for the covariance of a linear model or last layer, to save time: values have
            a relative error of 1 / sqrt(2 rank). None: 64 where there are more than 256 columns; 8 for forces, which
            cost a reverse pass for each.
        bias_height: eV; dynamics feel E + bias_height (exp(-variance / (2 bias_width^2)) - 1), which draws them to
            structures that the model knows little about. 0 = none. Recorded energies are those of the potential.
        bias_width: standard deviation of the energy at which the bias saturates, eV.

    References:
        Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023), for a bias of this form.
    """

    grade: Grade
    quantity: str | None = None
    stop_above: float = np.inf
    record_above: float = np.inf
    record_to: str | Path | None = None
    every: int | None = None
    rank: int | None = None
    bias_height: float = 0.0
    bias_width: float = 0.1

    def __post_init__(self) -> None:
        known = isinstance(self.grade, Uncertainty)
        if self.quantity is not None and (self.quantity not in QUANTITIES or (self.quantity != "atoms" and not known)):
            raise ConfigError(
                f"Wanted a quantity in {list(QUANTITIES)}; extrapolation grades have 'atoms' only. Got "
                f"{self.quantity!r} of a {type(self.grade).__name__}."
            )
        if self.interval < 1 or not self.bias_width > 0 or not self.bias_height >= 0:
            raise ConfigError(
                f"Wanted every >= 1, bias_height >= 0 and bias_width > 0, got {self.every}, {self.bias_height} and "
                f"{self.bias_width}."
            )
        if self.bias_height and not known:
            raise ConfigError(
                f"A bias needs an uncertainty; a {type(self.grade).__name__} has no variance of energies."
            )
        if np.isnan(self.stop_above) or np.isnan(self.record_above):
            raise ConfigError("stop_above and record_above must be numbers.")

    @property
    def watched(self) -> str:
        """The quantity, chosen when none was given."""
        return self.quantity or ("energy" if isinstance(self.grade, Uncertainty) else "atoms")

    @property
    def interval(self) -> int:
        """Steps between two looks."""
        usual = 50 if self.watched == "forces" else 20
        return usual if self.every is None else self.every

    @property
    def unit(self) -> str:
        """Of the values."""
        return self.grade.unit if self.watched == "atoms" else QUANTITIES[self.watched]

    def value(self, graph: Graph) -> Float[Array, ""]:
        """What is compared with the thresholds."""
        grade: Any = self._light()
        if self.watched == "atoms":
            return jnp.max(grade.atoms(graph))
        variance = grade.energy_variance(graph) if self.watched == "energy" else jnp.max(grade.forces_variance(graph))
        return jnp.sqrt(jnp.maximum(variance, 0.0))

    def bias(self, graph: Graph) -> Float[Array, ""]:
        """Energy that is added to the dynamics, eV."""
        grade: Any = self._light()
        variance = grade.energy_variance(graph)
        return self.bias_height * (jnp.exp(-variance / (2.0 * self.bias_width**2)) - 1.0)

    def identity(self) -> dict[str, str]:
        """What decides the trajectory, what is seen and what is kept: compared when a run is taken up again."""
        found = {
            "grade": fingerprint(self.grade),
            "quantity": self.watched,
            "every": str(self.interval),
            "record_above": str(float(self.record_above)),
            "rank": str(self.rank),
            "bias_height": str(float(self.bias_height)),
        }
        if self.bias_height:
            found["bias_width"] = str(float(self.bias_width))
        return {f"watch.{name}": value for name, value in found.items()}

    def _light(self) -> Grade:
        grade = self.grade
        if not isinstance(grade, LinearUncertainty):
            return grade
        if self.rank is not None:
            return grade.sketched(self.rank)
        exact = grade.half.shape[0] <= _EXACT[self.watched]
        return grade if exact else grade.sketched(_DIRECTIONS[self.watched])


def fingerprint(grade: Grade) -> str:
    """Digest of a grade: its kind, what it is of, and the bits of its numbers."""
    leaves, tree = jax.tree.flatten(grade)
    digest = hashlib.sha256(_text([type(grade).__qualname__, str(tree)]))
    for leaf in leaves:
        array = np.asarray(leaf)
        known = array.dtype != object
        digest.update(_text([array.dtype, array.shape]) + array.tobytes() if known else _text(leaf))
    return digest.hexdigest()[:16]


def _text(value: Any) -> bytes:
    """Without the places of objects in memory, which say nothing."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode()


@pytree
class WatchState:
    """What the watchman carries from step to step.

    Attributes:
        step: made so far. value: at the last look.
        peak, peak_step, peak_positions, peak_cell: the largest value of a block, and where it was.
        stopped: whether the state stands still.
        energy: that the last step's forces came with, where the integrator tells it, eV.
    """

    step: Int[Array, ""]
    value: Float[Array, ""]
    peak: Float[Array, ""]
    peak_step: Int[Array, ""]
    peak_positions: Float[Array, "atoms 3"]
    peak_cell: Float[Array, "3 3"]
    stopped: Bool[Array, ""]
    energy: Float[Array, ""]


@pytree
class WatchedState:
    """The state of an integrator with that of the watchman; looks like the former."""

    inner: Any
    watch: WatchState

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("inner", "watch"):
            raise AttributeError(name)
        return getattr(self.inner, name)


def watched(watch: Watch, integrator: Integrator, energy_fn: EnergyFunction) -> Integrator:
    """An integrator that looks every few steps, and stands still after a stop.

    Args:
        watch: what to look at.
        integrator: to be watched.
        energy_fn: makes graphs of positions and neighbour lists.
    """

    def look(state: Any, neighbor: Any, before: WatchState) -> WatchState:
        graph = graph_of(energy_fn, state.position, neighbor, integrator.box(state))
        value = watch.value(graph).astype(before.value.dtype)
        higher = ~(value <= before.peak)  # NaN counts as high
        return dataclasses.replace(
            before,
            value=value,
            peak=jnp.where(higher, value, before.peak),
            peak_step=jnp.where(higher, before.step, before.peak_step),
            peak_positions=jnp.where(higher, graph.positions, before.peak_positions),
            peak_cell=jnp.where(higher, graph.cell[0], before.peak_cell),
            stopped=~(value <= watch.stop_above),
        )

    def init(key: Any, position: Array, **kwargs: Any) -> WatchedState:
        zero, none = jnp.zeros((), position.dtype), jnp.zeros((), jnp.int32)
        start = WatchState(
            step=none,
            value=zero,
            peak=zero - 1.0,
            peak_step=none,
            peak_positions=position,
            peak_cell=jnp.zeros((3, 3), position.dtype),
            stopped=jnp.zeros((), bool),
            energy=zero,
        )
        inner = integrator.init(key, position, **kwargs)
        return WatchedState(inner=inner, watch=look(inner, kwargs["neighbor"], start))

    def advance(state: WatchedState, **kwargs: Any) -> WatchedState:
        inner = integrator.apply(state.inner, **kwargs)
        energy = state.watch.energy
        if integrator.forces is not None:
            energy = integrator.forces.energy.astype(energy.dtype)
        going = jnp.zeros((), bool)
        counted = dataclasses.replace(state.watch, step=state.watch.step + 1, energy=energy, stopped=going)
        due = counted.step % watch.interval == 0
        seen = jax.lax.cond(due, lambda: look(inner, kwargs["neighbor"], counted), lambda: counted)
        return WatchedState(inner=inner, watch=seen)

    def apply(state: WatchedState, **kwargs: Any) -> WatchedState:
        # A run that was stopped goes on from its checkpoint when the threshold has been raised.
        still = state.watch.stopped & ~(state.watch.value <= watch.stop_above)
        state = jax.lax.cond(still, lambda: state, lambda: advance(state, **kwargs))
        if forces is not None:
            forces.energy = state.watch.energy
        return state

    forces = None if integrator.forces is None else ForcesWithEnergy(energy_fn)
    return dataclasses.replace(integrator, init=init, apply=apply, forces=forces)


def graph_of(energy_fn: EnergyFunction, position: Array, neighbor: Any, box: Any) -> Graph:
    """What the potential sees of a state, with lists that are up to date."""
    return energy_fn.graph(position, neighbor.update(position, box=box), box=box)
