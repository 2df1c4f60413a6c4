"""How far a potential is from reference data: energies, forces and stresses of many frames."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import DataError
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Params
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Frame, Structure
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.graphs.batching import build_graph, unbatch
from jorbit.orbits import OrbitResult
from jorbit.potential.orbit_reference import FoundOrbits
from jorbit.potential.potential import Potential
from jorbit.potential.predict import predict
from jorbit.train.buckets import batches
from jorbit.train.labelled import label_frames, labelled_for
from jorbit.train.progress import Progress, reporting

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # the six independent components of a stress


def _mae(error: np.ndarray) -> float | None:
    return float(np.abs(error).mean()) if error.size else None


def _rmse(error: np.ndarray) -> float | None:
    return float(np.sqrt((error**2).mean())) if error.size else None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Metrics:
    """Errors over labelled frames, with the arrays they come from. Absent or zero-weight labels count nowhere.

    Attributes:
        n_frames, n_atoms: everything that was evaluated.
        energy_frames: indices of the frames with an energy.
        energy_reference, energy_predicted: their energies, eV.
        energy_atoms: their numbers of atoms.
        force_numbers: atomic number of each atom with a force.
        force_orbits: orbit of each of them within its element, -1 where none is known.
        force_reference, force_predicted: eV/Å.
        stress_frames: indices of the frames with a stress and a volume.
        stress_reference, stress_predicted: eV/Å^3, positive under tension.
    """

    n_frames: int
    n_atoms: int
    energy_frames: Int[np.ndarray, " energies"]
    energy_reference: Float[np.ndarray, " energies"]
    energy_predicted: Float[np.ndarray, " energies"]
    energy_atoms: Int[np.ndarray, " energies"]
    force_numbers: Int[np.ndarray, " forces"]
    force_orbits: Int[np.ndarray, " forces"]
    force_reference: Float[np.ndarray, "forces 3"]
    force_predicted: Float[np.ndarray, "forces 3"]
    stress_frames: Int[np.ndarray, " stresses"]
    stress_reference: Float[np.ndarray, "stresses 3 3"]
    stress_predicted: Float[np.ndarray, "stresses 3 3"]

    @property
    def _energy_error(self) -> np.ndarray:
        return self.energy_predicted - self.energy_reference

    @property
    def _force_error(self) -> np.ndarray:
        return self.force_predicted - self.force_reference

    @property
    def _stress_error(self) -> np.ndarray:
        error = self.stress_predicted - self.stress_reference
        return np.stack([error[:, a, b] for a, b in VOIGT], axis=1)

    @property
    def energy_mae(self) -> float | None:
        """eV per structure; None without energies."""
        return _mae(self._energy_error)

    @property
    def energy_rmse(self) -> float | None:
        """eV per structure."""
        return _rmse(self._energy_error)

    @property
    def energy_mae_per_atom(self) -> float | None:
        """eV/atom: mean over frames of |error| / atoms."""
        return _mae(self._energy_error / self.energy_atoms)

    @property
    def energy_rmse_per_atom(self) -> float | None:
        """eV/atom."""
        return _rmse(self._energy_error / self.energy_atoms)

    @property
    def force_mae(self) -> float | None:
        """eV/Å, mean over Cartesian components; None without forces."""
        return _mae(self._force_error)

    @property
    def force_rmse(self) -> float | None:
        """eV/Å, over Cartesian components."""
        return _rmse(self._force_error)

    @property
    def stress_mae(self) -> float | None:
        """eV/Å^3, mean over the six independent components; None without stresses."""
        return _mae(self._stress_error)

    @property
    def stress_rmse(self) -> float | None:
        """eV/Å^3, over the six independent components."""
        return _rmse(self._stress_error)

    def force_errors_by_element(self) -> dict[str, dict[str, float | int]]:
        """Element -> its number of atoms and its force MAE and RMSE, eV/Å."""
        return {SYMBOLS[z]: self._errors_where(self.force_numbers == z) for z in np.unique(self.force_numbers).tolist()}

    def force_errors_by_orbit(self) -> dict[str, dict[str, float | int]]:
        """Orbit, named by its element and its index in it ("H2") -> number of atoms, force MAE and RMSE, eV/Å.

        Empty when no atom has an orbit; any model can be measured by orbit, one that knows none as well.
        """
        rows = np.unique(np.stack([self.force_numbers, self.force_orbits], axis=1), axis=0).tolist()
        return {
            f"{SYMBOLS[z]}{orbit}": self._errors_where((self.force_numbers == z) & (self.force_orbits == orbit))
            for z, orbit in rows
            if orbit >= 0
        }

    def _errors_where(self, chosen: np.ndarray) -> dict[str, float | int]:
        error = self._force_error[chosen]
        return {
            "n_atoms": len(error),
            "force_mae": float(np.abs(error).mean()),
            "force_rmse": float(np.sqrt((error**2).mean())),
        }

    def to_json(self) -> dict[str, Any]:
        """The numbers, without the arrays; null where there were no labels."""
        names = ("n_frames", "n_atoms")
        kinds = ("energy_mae", "energy_rmse", "energy_mae_per_atom", "energy_rmse_per_atom")
        kinds += ("force_mae", "force_rmse", "stress_mae", "stress_rmse")
        result = {name: getattr(self, name) for name in names + kinds}
        by_orbit = self.force_errors_by_orbit()
        result |= {"forces_by_element": self.force_errors_by_element()}
        return result | ({"forces_by_orbit": by_orbit} if by_orbit else {})

    def __repr__(self) -> str:
        parts = [f"{self.n_frames} frames"]
        if self.energy_mae_per_atom is not None:
            parts.append(f"energy MAE {1e3 * self.energy_mae_per_atom:.3f} meV/atom")
        if self.force_mae is not None:
            parts.append(f"force MAE {1e3 * self.force_mae:.2f} meV/Å")
        if self.stress_mae is not None:
            parts.append(f"stress MAE {1e3 * self.stress_mae:.3f} meV/Å^3")
        return ", ".join(parts)


def evaluate(
    potential: Potential,
    params: Params,
    frames: Iterable[Frame],
    progress: Progress = None,
    *,
    orbits: OrbitResult | FoundOrbits | None = None,
    batch_atoms: int = 512,
) -> Metrics:
    """Predict every frame in float64 and compare with its labels.

    Args:
        potential, params: what is measured.
        frames: labelled structures of any sizes; batched, one compilation per bucket of sizes. Those in an HDF5 file
            stay there but for the batch in hand; labels and predictions are kept, 64 bytes per atom.
        orbits: what `jorbit.find_orbits` returned, to list errors by; otherwise those of the potential, or of the
            structures.
        progress: None, True for a bar, or a function (stage, done, total).
        batch_atoms: about how many atoms are evaluated at once; memory grows with it.

    Raises:
        DataError: no frames.
        UnknownSpeciesError: an element the potential does not know.
        OrbitError: a structure that does not fit the orbits of the potential.

    Example:
        >>> from jorbit.datasets import load_dataset
        >>> from jorbit.train.statistics import mean_energy_baseline
        >>> frames = list(load_dataset("ethanol_gfn2"))[:3]
        >>> evaluate(*mean_energy_baseline(frames), frames).n_frames
        3
    """
    every: Sequence[Frame] = frames if isinstance(frames, HDF5Frames) else list(frames)
    if not every:
        raise DataError("There are no frames to evaluate. Is the data file empty, or the limit 0?")
    whole = None if isinstance(every, HDF5Frames) else _as_seen(potential, every, orbits)
    parts: list[_Rows] = []
    with reporting(progress) as report, jax.enable_x64(True):
        done = 0
        for indices, capacity in batches((f.structure for f in every), potential.cutoffs, batch_atoms):
            if whole is None:
                some, seen = _as_seen(potential, [every[k] for k in indices], orbits)
            else:
                some, seen = [whole[0][k] for k in indices], [whole[1][k] for k in indices]
            graph = build_graph(seen, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float64)
            parts.append(_rows(indices, some, unbatch(predict(potential, params, graph), seen)))
            done += len(indices)
            report("evaluate", done, len(every))
    return _joined(parts)


def compare(
    frames: Iterable[Frame],
    energies: Float[np.ndarray, " frames"],
    forces: Float[np.ndarray, "frames atoms 3"],
    *,
    orbits: OrbitResult | FoundOrbits | None = None,
) -> Metrics:
    """Metrics of energies and forces that are known already, for frames of one system.

    Args:
        frames: labelled structures.
        energies: predicted, eV.
        forces: predicted, eV/Å.
        orbits: what `jorbit.find_orbits` returned, to list errors by; otherwise those of the structures.
    """
    frames = [dataclasses.replace(f, labels=dataclasses.replace(f.labels, stress=None)) for f in frames]
    frames = _with_orbits(frames, [f.structure for f in frames], orbits)
    results = [
        Prediction(energy=energies[k : k + 1], energies=np.zeros(len(f)), forces=f, stress=np.zeros((1, 3, 3)))
        for k, f in enumerate(forces)
    ]
    return _joined([_rows(range(len(frames)), frames, results)])


# What is kept of some frames: the arrays of Metrics, "force_frames" (the frame of each atom), and one number of atoms
# for each frame.
_Rows = dict[str, np.ndarray]


def _rows(indices: Sequence[int], frames: Sequence[Frame], results: Sequence[Prediction]) -> _Rows:
    """Labels that count and predictions of some frames, given by their indices among all."""
    labels = [f.labels for f in frames]
    with_energy = [k for k, x in enumerate(labels) if x.energy is not None and x.energy_weight]
    counted = [_counted_atoms(frame) for frame in frames]
    with_forces = [k for k, x in enumerate(labels) if x.forces is not None and counted[k].any()]
    with_stress = [
        k for k, x in enumerate(labels) if x.stress is not None and x.stress_weight and frames[k].structure.volume > 0
    ]
    n_forces = np.array([counted[k].sum() for k in with_forces], dtype=int)

    def rows(arrays: list[Any], *shape: int) -> np.ndarray:
        return np.concatenate([np.zeros((0, *shape)), *(np.asarray(a, float).reshape(-1, *shape) for a in arrays)])

    return {
        "n_atoms": np.array([f.structure.n_atoms for f in frames], dtype=int),
        "energy_frames": np.array([indices[k] for k in with_energy], dtype=int),
        "energy_reference": rows([labels[k].energy for k in with_energy]),
        "energy_predicted": rows([results[k].energy[0] for k in with_energy]),
        "energy_atoms": np.array([frames[k].structure.n_atoms for k in with_energy], dtype=int),
        "force_frames": np.repeat(np.array([indices[k] for k in with_forces], dtype=int), n_forces),
        "force_numbers": rows([frames[k].structure.numbers[counted[k]] for k in with_forces]).astype(int),
        "force_orbits": rows([_orbits(frames[k].structure)[counted[k]] for k in with_forces]).astype(int),
        "force_reference": rows([_forces(frames[k])[counted[k]] for k in with_forces], 3),
        "force_predicted": rows([np.asarray(results[k].forces)[counted[k]] for k in with_forces], 3),
        "stress_frames": np.array([indices[k] for k in with_stress], dtype=int),
        "stress_reference": rows([labels[k].stress for k in with_stress], 3, 3),
        "stress_predicted": rows([results[k].stress[0] for k in with_stress], 3, 3),
    }


def _joined(parts: list[_Rows]) -> Metrics:
    """All parts, in the order of the frames."""
    every = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    n_atoms, arrays = every.pop("n_atoms"), {}
    for kind in ("energy", "force", "stress"):
        order = np.argsort(every[f"{kind}_frames"], kind="stable")
        for name in [name for name in every if name.startswith(kind)]:
            arrays[name] = every.pop(name)[order]
    del arrays["force_frames"]
    return Metrics(n_frames=len(n_atoms), n_atoms=int(n_atoms.sum()), **arrays)


def _as_seen(
    potential: Potential, frames: Sequence[Frame], orbits: OrbitResult | FoundOrbits | None
) -> tuple[list[Frame], list[Structure]]:
    """Frames with the orbits that errors are listed by, and their structures as the potential sees them."""
    if potential.species.has_orbits:  # isolated atoms have none
        structures = [f.structure for f in labelled_for(potential, frames)]
    else:
        structures = potential.labelled(f.structure for f in frames)
    return _with_orbits(frames, structures, orbits), structures


def _with_orbits(
    frames: Sequence[Frame], labelled: list[Structure], orbits: OrbitResult | FoundOrbits | None
) -> list[Frame]:
    """Frames whose structures carry the orbits that errors are listed by."""
    if orbits is not None:
        labelled = [f.structure for f in label_frames(frames, orbits)]
    return [
        frame if structure.orbits is None else dataclasses.replace(frame, structure=structure)
        for frame, structure in zip(frames, labelled, strict=True)
    ]


def _counted_atoms(frame: Frame) -> Bool[np.ndarray, " atoms"]:
    """Atoms whose forces have a weight."""
    return np.broadcast_to(np.asarray(frame.labels.forces_weight, dtype=float) > 0, frame.structure.n_atoms)


def _forces(frame: Frame) -> Float[np.ndarray, "atoms 3"]:
    return np.asarray(frame.labels.forces, dtype=float)


def _orbits(structure: Structure) -> Int[np.ndarray, " atoms"]:
    return np.full(structure.n_atoms, -1) if structure.orbits is None else np.asarray(structure.orbits)
