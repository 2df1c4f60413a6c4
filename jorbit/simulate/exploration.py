"""Exploration: molecular dynamics that looks for structures which the model knows too little about."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jorbit.core.errors import SimulationError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.potential.potential import Potential
from jorbit.simulate.frames import Frames
from jorbit.simulate.molecular_dynamics import run
from jorbit.simulate.watchman import Watch


@dataclasses.dataclass(frozen=True)
class Walk:
    """What one walker brought back.

    Attributes:
        structures: at equal intervals, the last one where the walk was stopped.
        time: how long it lasted, fs.
        ending: why it was stopped; "" when it was not.
    """

    structures: tuple[Structure, ...]
    time: float
    ending: str


def explore(
    potential: Potential,
    params: Params,
    starts: Sequence[Structure],
    watch: Watch,
    *,
    temperatures: Sequence[float] = (300.0,),
    n_steps: int = 2000,
    every: int = 50,
    timestep: float = 0.5,
    friction: float = 0.02,
    seed: int = 0,
    **options: Any,
) -> list[Walk]:
    """Langevin dynamics from each start, until the watchman stops it; one that blows up brings back what it saw before.

    Args:
        potential, params: the model.
        starts: one walker from each.
        watch: when to stop, and a bias towards the unknown if it has one. With several starts each walker has a file of
            its own for what it records: "seen.0.xyz", "seen.1.xyz", ... where `record_to` is "seen.xyz".
        temperatures: of the walkers, over and over, K.
        n_steps: of each walk.
        every: steps between two structures that are brought back.
        timestep: fs.
        friction: 1/fs.
        seed: of velocities and random forces.
        options: others of `jorbit.simulate.run`.

    Example:
        >>> walks = explore(potential, params, [start], Watch(uncertainty, stop_above=0.2))  # doctest: +SKIP
    """
    walks = []
    for k, start in enumerate(starts):
        seen: list[Structure] = []

        def remember(frames: Frames, seen: list[Structure] = seen) -> None:
            seen.extend(frames.at(i) for i in range(len(frames)) if frames.steps[i] > 0)

        try:
            result = run(
                potential,
                params,
                start,
                integrator="nvt_langevin",
                temperature=temperatures[k % len(temperatures)],
                n_steps=n_steps,
                timestep=timestep,
                friction=friction,
                record_every=every,
                block_size=max(100, every),
                observers=[remember],
                watch=_of_walker(watch, k, len(starts)),
                seed=seed + k,
                progress=False,
                **options,
            )
            time, ending = result.n_steps * timestep, result.stopped
        except SimulationError as error:
            time, ending = len(seen) * every * timestep, str(error)
        finite = [s for s in seen if np.isfinite(s.positions).all()]
        walks.append(Walk(tuple(finite), time, ending))
    return walks


def _of_walker(watch: Watch, k: int, n_walkers: int) -> Watch:
    """A run begins its file anew, so that walkers cannot share one."""
    if watch.record_to is None or n_walkers == 1:
        return watch
    path = Path(watch.record_to)
    return dataclasses.replace(watch, record_to=path.with_name(f"{path.stem}.{k}{path.suffix}"))
