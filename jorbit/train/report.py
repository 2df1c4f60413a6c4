"""What a fit found out about itself: numbers for the log, provenance for the model file, variances for the user."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jorbit.core.protocols import Capacity
from jorbit.core.structure import Structure
from jorbit.train.buckets import frame_capacities
from jorbit.train.closed_form import Posterior
from jorbit.train.design import FitWeights, LinearProblem
from jorbit.train.metrics import VOIGT, Metrics


class PredictiveStd(NamedTuple):
    """Standard deviations of a prediction: what the training data leave open, not the noise of a new label.

    Attributes:
        energy: eV.
        forces: [atoms, 3], eV/Å.
        stress: [3, 3], eV/Å^3, or None without a volume.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class FitPosterior:
    """The fitted potential with its uncertainty.

    Attributes:
        problem: which parameter is which column.
        coefficients: Gaussian posterior over the columns.
    """

    problem: LinearProblem
    coefficients: Posterior

    def predictive_std(self, structures: Sequence[Structure]) -> list[PredictiveStd]:
        """Standard deviations of energy, forces and stress of some structures; one compilation per bucket of sizes.

        Example:
            >>> std = report.posterior.predictive_std([structure])[0]  # doctest: +SKIP
            >>> std.energy, std.forces.shape  # doctest: +SKIP
        """
        structures = self.problem.potential.labelled(structures)
        capacities = frame_capacities(structures, self.problem.potential.cutoffs)
        return [self._std_of_one(s, c) for s, c in zip(structures, capacities, strict=True)]

    def _std_of_one(self, structure: Structure, capacity: Capacity) -> PredictiveStd:
        rows, _ = self.problem.collect(structure, self.problem.launch(structure, capacity))
        energy, forces, stress = (np.sqrt(self.coefficients.variance(r)) for r in rows)
        full = None
        if structure.volume > 0:
            full = np.zeros((3, 3))
            for value, (a, b) in zip(stress, VOIGT, strict=True):
                full[a, b] = full[b, a] = value
        return PredictiveStd(float(energy[0]), forces.reshape(-1, 3), full)

    def sample(self, n: int, seed: int) -> list[Any]:
        """Parameters of n potentials drawn from the posterior: an ensemble for free."""
        return [self.problem.params(c) for c in self.coefficients.sample(n, seed)]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FitReport:
    """Everything worth knowing about a fit.

    Attributes:
        n_frames: frames whose labels were used; isolated atoms that fixed a reference energy not counted.
        n_rows: rows of each kind: energy, forces, stress.
        n_parameters: columns solved for (free reference energies included).
        effective_parameters: how many of them the data determine.
        ridge: penalty on |Gamma c|^2. noise: standard deviation of a row of weight 1, eV/Å when forces weigh 1.
        log_evidence: log p(labels | ridge, noise), or None without a prior.
        prior, solver, weights, seed: as asked for.
        reference_energies: element (or orbit) -> eV, as in the potential.
        training: errors on the training frames; None when the fit was interrupted.
        seconds: of the stages design, solve, evaluate.
        compilations: how many programs this fit compiled, by name.
        interrupted: the fit was stopped early and used the first n_frames only.
        notes: what the user should know.
        posterior: covariance of the parameters; gives predictive standard deviations.
    """

    n_frames: int
    n_rows: dict[str, int]
    n_parameters: int
    effective_parameters: float
    ridge: float
    noise: float
    log_evidence: float | None
    prior: str
    solver: str
    weights: FitWeights
    seed: int
    reference_energies: dict[str, float]
    training: Metrics | None
    seconds: dict[str, float]
    compilations: dict[str, int]
    interrupted: bool
    notes: tuple[str, ...]
    posterior: FitPosterior

    def provenance(self) -> dict[str, Any]:
        """A JSON-able summary for the model file: how the parameters came about."""
        import jorbit

        skip = ("training", "posterior", "weights", "notes")
        result = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in skip}
        return result | {
            "weights": dataclasses.asdict(self.weights),
            "notes": list(self.notes),
            "training": None if self.training is None else self.training.to_json(),
            "versions": {"jorbit": jorbit.__version__, "jax": jax.__version__, "numpy": np.__version__},
        }

    def __repr__(self) -> str:
        rows = ", ".join(f"{n} {kind}" for kind, n in self.n_rows.items() if n)
        lines = [
            f"{self.n_frames} frames ({rows} rows), {self.n_parameters} parameters "
            f"({self.effective_parameters:.1f} determined by the data)",
            f"ridge {self.ridge:.3g} ({self.prior}), noise {self.noise:.3g}",
            *([] if self.training is None else [f"training: {self.training}"]),
            ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items()),
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
