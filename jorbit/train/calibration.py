"""Do errors have the size that an uncertainty says? Scales that make them so, and numbers that say how well."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import erfinv
from scipy.stats import rankdata

from jorbit.core.errors import DataError
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import Uncertainty, predict_spread
from jorbit.train.metrics import evaluate

LEVELS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 1000  # frames of a file in memory
_LEAST = 1e-12  # standard deviations below count as this: 0 / 0 says nothing about calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Errors of one quantity beside their predicted standard deviations.

    Attributes:
        quantity: "energy" (of whole structures) or "forces" (components). unit: of both.
        errors: predicted minus reference.
        deviations: predicted standard deviations, scaled.
        scale: the factor that was found; 1 when none was sought.
    """

    quantity: str
    unit: str
    errors: Float[np.ndarray, " labels"]
    deviations: Float[np.ndarray, " labels"]
    scale: float = 1.0

    @property
    def nll(self) -> float:
        """Mean negative log likelihood of the errors as normal numbers of these deviations (nats; eV or eV/Å)."""
        s = np.maximum(self.deviations, _LEAST)
        return float(np.mean(0.5 * (self.errors / s) ** 2 + np.log(s) + 0.5 * np.log(2.0 * np.pi)))

    @property
    def miscalibration_area(self) -> float:
        """Area between the observed and the expected share of errors within each central interval: 0 to 0.5."""
        return float(np.trapezoid(np.abs(self.observed - LEVELS), LEVELS))

    @property
    def observed(self) -> Float[np.ndarray, " levels"]:
        """Share of errors that lie in the central interval that should hold the share LEVELS of them."""
        z = np.sort(np.abs(self.errors) / np.maximum(self.deviations, _LEAST))
        bounds = np.sqrt(2.0) * erfinv(np.minimum(LEVELS, 1.0 - 1e-12))
        share = np.searchsorted(z, bounds, side="right") / len(z)
        return np.where(LEVELS == 1.0, 1.0, share)

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of |error| with the predicted deviation; 0 when all deviations are alike."""
        a, b = rankdata(np.abs(self.errors)), rankdata(self.deviations)
        spread = a.std() * b.std()
        return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else 0.0

    @property
    def ratio(self) -> float:
        """Root mean square of error over deviation: 1 when calibrated, 6 when deviations are six times too small."""
        return float(np.sqrt(np.mean((self.errors / np.maximum(self.deviations, _LEAST)) ** 2)))

    def scaled(self, factor: float) -> "Calibration":
        """With all deviations times a factor."""
        return dataclasses.replace(self, deviations=factor * self.deviations, scale=factor * self.scale)

    def best(self) -> "Calibration":
        """Scaled by the factor of lowest negative log likelihood, the root mean square of error over deviation.

        Example:
            >>> errors = np.array([1.0, -2.0, 3.0, -2.0])
            >>> fitted = Calibration("energy", "eV", errors, np.ones(4)).best()
            >>> print(round(fitted.scale, 6), round(fitted.ratio, 6))
            2.12132 1.0
        """
        return self.scaled(self.ratio)

    def to_json(self) -> dict[str, Any]:
        """The numbers."""
        return {
            "quantity": self.quantity,
            "n": len(self.errors),
            "scale": self.scale,
            "nll": self.nll,
            "miscalibration_area": self.miscalibration_area,
            "rank_correlation": self.rank_correlation,
            "rms_error": float(np.sqrt(np.mean(self.errors**2))),
            "rms_deviation": float(np.sqrt(np.mean(self.deviations**2))),
        }


def measure_calibration(
    uncertainty: Uncertainty, params: Params, frames: Sequence[Frame], potential: Potential | None = None
) -> dict[str, Calibration]:
    """Errors and deviations on frames, as they are.

    Args:
        uncertainty: of the potential.
        params: parameters of the potential whose errors are measured.
        frames: labelled, not used for the fit; those in an HDF5 file are read a thousand at a time.
        potential: the uncertainty's own when not given.

    Returns:
        "energy" and "forces", as far as there are labels.

    Raises:
        DataError: no labels.
    """
    in_file = isinstance(frames, HDF5Frames)
    frames = frames if in_file else list(frames)
    potential = uncertainty.potential if potential is None else potential
    if not frames:
        raise DataError("Calibration needs labelled frames that the fit has not seen, and there are none.")
    of_energies, of_forces = [], []
    for some in (frames[k : k + _AT_ONCE] for k in range(0, len(frames), _AT_ONCE)) if in_file else [frames]:
        some = list(some)
        for frame, spread in zip(some, predict_spread(uncertainty, [f.structure for f in some]), strict=True):
            of_energies.append(spread.energy)
            of_forces.append(spread.forces[_with_forces(frame)])
    metrics = evaluate(potential, params, frames)
    result = {}
    if len(metrics.energy_frames):
        deviations = np.array(of_energies)[metrics.energy_frames]
        errors = metrics.energy_predicted - metrics.energy_reference
        result["energy"] = Calibration("energy", "eV", errors, deviations)
    if len(metrics.force_predicted):
        deviations = np.concatenate(of_forces)
        errors = metrics.force_predicted - metrics.force_reference
        result["forces"] = Calibration("forces", "eV/Å", errors.ravel(), deviations.ravel())
    if not result:
        raise DataError("None of the frames for calibration has an energy or forces.")
    return result


def _with_forces(frame: Frame) -> Bool[np.ndarray, " atoms"]:
    """Atoms whose forces count."""
    counts = frame.labels.forces is not None
    return np.broadcast_to(counts & (np.asarray(frame.labels.forces_weight) > 0), frame.structure.n_atoms)


def calibrate(uncertainty: Any, params: Params, frames: Sequence[Frame]) -> tuple[Any, dict[str, Calibration]]:
    """Scale an uncertainty so that errors on held-out frames are most likely, energies and forces by themselves.

    Args:
        uncertainty: as it comes from a fit, a last layer or an ensemble.
        params: parameters of its potential.
        frames: labelled, not used for the fit.

    Returns:
        The scaled uncertainty, and what was found on these frames; measure it on others with `measure_calibration`.

    Example:
        >>> uncertainty, found = calibrate(uncertainty, params, held_out)  # doctest: +SKIP
        >>> found["forces"].scale  # doctest: +SKIP
    """
    found = {name: c.best() for name, c in measure_calibration(uncertainty, params, frames).items()}
    first = next(iter(found.values())).scale  # of a quantity without labels: as of the other
    factor = {name: found[name].scale if name in found else first for name in ("energy", "forces")}
    scaled = dataclasses.replace(
        uncertainty,
        energy_scale=np.asarray(float(uncertainty.energy_scale) * factor["energy"]),
        forces_scale=np.asarray(float(uncertainty.forces_scale) * factor["forces"]),
    )
    return scaled, found
