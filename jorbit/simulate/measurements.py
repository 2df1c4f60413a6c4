"""What a simulation measures on the device while it runs: pair distributions, displacements, velocity correlations.

A measurement is a pair of pure functions, start and add, and a third on the host that turns the sums into a result.
Its state goes into checkpoints with the state of the atoms.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure
from jorbit.graphs.cell_list import SearchPlan, plan_search, search


class Snapshot(NamedTuple):
    """One record on the device: Å, Å/fs (NaN for dynamics without momenta), lattice vectors as rows in Å, amu."""

    positions: Float[Array, "atoms 3"]
    velocities: Float[Array, "atoms 3"]
    cell: Float[Array, "3 3"]
    masses: Float[Array, "atoms 1"]


@runtime_checkable
class Measurement(Protocol):
    """Sums over the records of a run."""

    @property
    def name(self) -> str: ...
    def prepared(self, structure: Structure, headroom: float) -> "Measurement":
        """Ready for one system."""
        ...

    def start(self, dtype: Any) -> Any:
        """Empty sums."""
        ...

    def add(self, sums: Any, snapshot: Snapshot) -> Any:
        """With one record more; on the device."""
        ...

    def overflow(self, sums: Any) -> Any:
        """Whether arrays were too small: then `prepared` is called again with more headroom, and the block redone."""
        ...

    def result(self, sums: Any, interval: float) -> Any:
        """What the user gets, from sums on the host; `interval` between records in fs."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class PairDistribution:
    """Radial distribution functions g(r).

    Attributes:
        r: centres of the bins, Å.
        g: by pair of elements, such as "Si-O"; "all" for atoms of any kind. 1 for particles without order.
        n_frames: records it is the mean of.
    """

    r: Float[np.ndarray, " bins"]
    g: dict[str, Float[np.ndarray, " bins"]]
    n_frames: int


@dataclasses.dataclass(frozen=True)
class RadialDistribution:
    """Measure g(r) up to any radius, in any periodic cell, at a cost linear in the number of atoms.

    Attributes:
        r_max: Å.
        n_bins: of equal width.
    """

    r_max: float = 6.0
    n_bins: int = 100
    name: str = "rdf"
    plan: SearchPlan | None = None
    numbers: tuple[int, ...] = ()

    def prepared(self, structure: Structure, headroom: float) -> "RadialDistribution":
        """With the sizes of a neighbour search.

        Raises:
            ConfigError: a structure without a full cell has no density to compare with.
        """
        if not np.all(structure.pbc):
            raise ConfigError("A radial distribution needs a cell that repeats in three directions.")
        plan = plan_search(structure, (self.r_max,), headroom=headroom)
        return dataclasses.replace(self, plan=plan, numbers=tuple(int(z) for z in structure.numbers))

    @property
    def _elements(self) -> list[int]:
        return sorted(set(self.numbers))

    def start(self, dtype: Any) -> dict[str, Array]:
        n = len(self._elements)
        return {
            "sums": jnp.zeros(n * n * self.n_bins, dtype),
            "n": jnp.zeros((), jnp.int32),
            "overflow": jnp.zeros((), bool),
        }

    def add(self, sums: dict[str, Array], snapshot: Snapshot) -> dict[str, Array]:
        if self.plan is None:
            raise ConfigError("RadialDistribution.prepared(structure) comes first.")
        lists = search(self.plan, snapshot.positions, snapshot.cell)
        index, shifts, mask = lists.index[0], lists.shifts[0], lists.mask[0]
        r = snapshot.positions
        moved = jnp.matmul(shifts.astype(r.dtype), snapshot.cell, precision="highest")
        squared = jnp.sum((r[index] - r[:, None, :] + moved) ** 2, axis=-1)
        which = jnp.floor(jnp.sqrt(jnp.where(mask, squared, 1.0)) * (self.n_bins / self.r_max)).astype(jnp.int32)
        kind = jnp.asarray(np.searchsorted(self._elements, self.numbers), jnp.int32)
        pair = kind[:, None] * len(self._elements) + kind[index]
        mask = mask & (which < self.n_bins)
        volume = jnp.abs(jnp.linalg.det(snapshot.cell))
        flat = jnp.where(mask, pair * self.n_bins + which, 0)
        counts = jnp.zeros(sums["sums"].shape, jnp.int32).at[flat.reshape(-1)].add(mask.reshape(-1).astype(jnp.int32))
        return {
            "sums": sums["sums"] + counts * volume,
            "n": sums["n"] + 1,
            "overflow": sums["overflow"] | lists.overflow,
        }

    def overflow(self, sums: dict[str, Any]) -> Any:
        return sums["overflow"]

    def result(self, sums: dict[str, Any], interval: float) -> PairDistribution:
        edges = np.linspace(0.0, self.r_max, self.n_bins + 1)
        shells = 4.0 / 3.0 * np.pi * np.diff(edges**3) * max(int(sums["n"]), 1)
        elements, of_kind = self._elements, np.array([self.numbers.count(z) for z in self._elements], float)
        counts = np.asarray(sums["sums"], np.float64).reshape(len(elements), len(elements), self.n_bins)
        g = {"all": counts.sum(axis=(0, 1)) / (len(self.numbers) ** 2 * shells)}
        if len(elements) > 1:
            for i, a in enumerate(elements):
                for j, b in enumerate(elements[i:], start=i):
                    g[f"{SYMBOLS[a]}-{SYMBOLS[b]}"] = counts[i, j] / (of_kind[i] * of_kind[j] * shells)
        return PairDistribution(r=0.5 * (edges[1:] + edges[:-1]), g=g, n_frames=int(sums["n"]))


@dataclasses.dataclass(frozen=True, eq=False)
class TimeCorrelation:
    """A function of the time between two records, the mean over all origins.

    Attributes:
        times: fs.
        values: by element, and "all"; Å^2 (displacements) or Å^2/fs^2 (velocities).
        n_origins: how many pairs of records each time has.
    """

    times: Float[np.ndarray, " lags"]
    values: dict[str, Float[np.ndarray, " lags"]]
    n_origins: np.ndarray

    def slope(self, start: float, stop: float, element: str = "all") -> float:
        """Slope of the straight line through the values between two times (fs); of displacements it is 6 D, Å^2/fs.

        Raises:
            ConfigError: fewer than two times between the two.
        """
        chosen = (self.times >= start) & (self.times <= stop)
        if chosen.sum() < 2:
            raise ConfigError(
                f"Wanted two or more times between {start:g} and {stop:g} fs; there are {len(self.times)} from 0 to "
                f"{self.times.max(initial=0.0):g} fs. Choose others, or measure with more lags (n_lags=)."
            )
        return float(np.polyfit(self.times[chosen], self.values[element][chosen], 1)[0])

    def integral(self, element: str = "all") -> float:
        """Integral over all times; of velocity correlations it is 3 D, Å^2/fs."""
        return float(np.trapezoid(self.values[element], self.times))


@dataclasses.dataclass(frozen=True)
class _Correlation:
    """Correlations with the last `n_lags` records, which are kept in a ring on the device."""

    n_lags: int = 100
    numbers: tuple[int, ...] = ()

    def prepared(self, structure: Structure, headroom: float) -> Any:
        """For the elements of a system."""
        return dataclasses.replace(self, numbers=tuple(int(z) for z in structure.numbers))

    @property
    def _members(self) -> np.ndarray:
        numbers = np.array(self.numbers)
        rows = [np.ones(len(numbers), bool)] + [numbers == z for z in sorted(set(self.numbers))]
        return np.array([row / row.sum() for row in rows])

    def start(self, dtype: Any) -> dict[str, Array]:
        return {
            "ring": jnp.zeros((self.n_lags, len(self.numbers), 3), dtype),
            "sums": jnp.zeros((self.n_lags, len(self._members)), dtype),
            "n": jnp.zeros((), jnp.int32),
        }

    def _record(self, snapshot: Snapshot) -> Array:
        raise NotImplementedError

    def _compare(self, now: Array, then: Array) -> Array:
        raise NotImplementedError

    def add(self, sums: dict[str, Array], snapshot: Snapshot) -> dict[str, Array]:
        n, now = sums["n"], self._record(snapshot)
        lags = jnp.arange(self.n_lags, dtype=jnp.int32)
        ring = jax.lax.dynamic_update_index_in_dim(sums["ring"], now, n % self.n_lags, axis=0)
        values = self._compare(now[None], ring[(n - lags) % self.n_lags])  # [lags, atoms]
        means = jnp.matmul(values, jnp.asarray(self._members, now.dtype).T, precision="highest")
        return {"ring": ring, "sums": sums["sums"] + jnp.where((lags <= n)[:, None], means, 0.0), "n": n + 1}

    def overflow(self, sums: dict[str, Any]) -> Any:
        return jnp.zeros((), bool)

    def result(self, sums: dict[str, Any], interval: float) -> TimeCorrelation:
        origins = np.maximum(int(sums["n"]) - np.arange(self.n_lags), 0)
        seen = origins > 0
        means = np.asarray(sums["sums"], np.float64)[seen] / origins[seen, None]
        names = ["all", *[SYMBOLS[z] for z in sorted(set(self.numbers))]]
        values = {name: means[:, k] for k, name in enumerate(names)}
        return TimeCorrelation(times=interval * np.arange(seen.sum()), values=values, n_origins=origins[seen])


@dataclasses.dataclass(frozen=True)
class MeanSquaredDisplacement(_Correlation):
    """Measure |r(t0 + t) - r(t0)|^2 as seen from the centre of mass, whose own motion is no diffusion.

    Attributes:
        n_lags: records to look back.
    """

    name: str = "msd"

    def _record(self, snapshot: Snapshot) -> Array:
        weights = snapshot.masses / jnp.sum(snapshot.masses)
        return snapshot.positions - jnp.sum(weights * snapshot.positions, axis=0)

    def _compare(self, now: Array, then: Array) -> Array:
        return jnp.sum((now - then) ** 2, axis=-1)


@dataclasses.dataclass(frozen=True)
class VelocityAutocorrelation(_Correlation):
    """Measure v(t0 + t) . v(t0); record often, every few femtoseconds. NaN for Brownian dynamics: nothing has momentum.

    Attributes:
        n_lags: records to look back.
    """

    name: str = "vacf"

    def _record(self, snapshot: Snapshot) -> Array:
        return snapshot.velocities

    def _compare(self, now: Array, then: Array) -> Array:
        return jnp.sum(now * then, axis=-1)


MEASUREMENTS = {"rdf": RadialDistribution, "msd": MeanSquaredDisplacement, "vacf": VelocityAutocorrelation}


def chosen_measurements(measure: Sequence[Any], structure: Structure, headroom: float) -> tuple[bool, tuple[Any, ...]]:
    """Whether stress is measured, and the measurements by name or as objects, ready for a system.

    Raises:
        ConfigError: an unknown name, or the same twice.
    """
    with_stress = any(isinstance(m, str) and m in ("stress", "pressure") for m in measure)
    found: list[Any] = []
    for item in measure:
        if isinstance(item, str) and item in ("stress", "pressure"):
            continue
        if isinstance(item, str) and item not in MEASUREMENTS:
            known = ", ".join(["stress", "pressure", *MEASUREMENTS])
            raise ConfigError(f"There is no measurement called {item!r}. Known: {known}, or an object.")
        found.append((MEASUREMENTS[item]() if isinstance(item, str) else item).prepared(structure, headroom))
    if len({m.name for m in found}) != len(found):
        raise ConfigError(f"Each measurement needs a name of its own, got {[m.name for m in found]}.")
    return with_stress, tuple(found)
