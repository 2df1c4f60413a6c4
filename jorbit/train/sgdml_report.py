"""What a kernel fit found out about itself."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jorbit.train.metrics import Metrics


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SGDMLReport:
    """Everything worth knowing about a kernel fit.

    Attributes:
        n_frames: training frames. n_rows: labels that were solved for.
        n_permutations: elements of the symmetry group.
        sigma: length scale of the kernel.
        sigma_search: σ -> root mean square error of validation forces, eV/Å; empty when σ was given.
        regularization, use_energies, images, seed: as asked for.
        solver: "cholesky" or "iterative". iterations, residual: of the latter; the residual is relative.
        training: errors on the training frames (None where a table shows them, and where Ctrl-C ended the search).
        seconds: of the stages permutations, solve, evaluate.
        compilations: how many programs this fit compiled, by name.
        notes: what the user should know.
        alphas: coefficients of the force components. energy_alphas: of the energies, where those were fitted.
        interrupted: the solution is not as good as asked for, or Ctrl-C ended the search for σ.
    """

    n_frames: int
    n_rows: int
    n_permutations: int
    sigma: float
    sigma_search: dict[float, float]
    regularization: float
    use_energies: bool
    images: str
    solver: str
    iterations: int | None
    residual: float | None
    seed: int
    training: Metrics | None
    seconds: dict[str, float]
    compilations: dict[str, int]
    notes: tuple[str, ...]
    alphas: Float[np.ndarray, " rows"]
    energy_alphas: Float[np.ndarray, " frames"] | None
    interrupted: bool = False

    def provenance(self) -> dict[str, Any]:
        """A JSON-able summary for the model file: how the parameters came about."""
        import jorbit

        skip = ("training", "notes", "alphas", "energy_alphas", "sigma_search")
        result = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in skip}
        return result | {
            "sigma_search": {f"{sigma:.6g}": error for sigma, error in self.sigma_search.items()},
            "notes": list(self.notes),
            "training": None if self.training is None else self.training.to_json(),
            "versions": {"jorbit": jorbit.__version__, "jax": jax.__version__, "numpy": np.__version__},
        }

    def __repr__(self) -> str:
        lines = [
            f"{self.n_frames} frames ({self.n_rows} rows), {self.n_permutations} permutations",
            f"sigma {self.sigma:.4g}, regularization {self.regularization:.3g}, {self.solver}"
            + ("" if self.iterations is None else f" ({self.iterations} iterations, residual {self.residual:.2g})"),
            *(
                [f"validation: force RMSE {1e3 * min(self.sigma_search.values()):.2f} meV/Å"]
                if self.sigma_search
                else []
            ),
            *([] if self.training is None else [f"training: {self.training}"]),
            ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items()),
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def energy_notes(training: Metrics) -> tuple[str, ...]:
    """What a comparison of integrated forces with energy labels says about the labels.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")[:800:40]
        >>> energy_notes(jorbit.fit_sgdml(frames, sigma=20.0, permutations="none").report.training)
        ()
    """
    reference, predicted = training.energy_reference, training.energy_predicted
    if not len(reference):
        return ("The frames have no energies: energies of this model have an arbitrary zero.",)
    if len(reference) < 3 or not predicted.std() > 0 or not reference.std() > 0:
        return ()
    correlation = float(np.corrcoef(reference, predicted)[0, 1])
    slope = correlation * float(reference.std() / predicted.std())
    if correlation < -0.95:
        return (
            f"Energies rise where forces say that they fall (correlation {correlation:.3f}): the labels look like "
            "gradients, not forces. Change their sign.",
        )
    if correlation < 0.95:
        return (
            f"Energies and forces do not belong together (correlation {correlation:.3f}): were they computed with "
            "different methods, frames mixed up, or are these too few frames? Forces of this model may be fine, its "
            "energies are not.",
        )
    if abs(slope - 1.0) > 0.1:
        return (
            f"Energies vary {slope:.3f} times as much as the integrated forces: are they in other units than the "
            "forces (eV and eV/Å)?",
        )
    return ()
