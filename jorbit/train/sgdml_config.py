"""The key `sgdml` of `jorbit train`: a kernel model of one molecule instead of a sum of terms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pydantic

from jorbit.core.structure import Frame
from jorbit.orbits import OrbitResult
from jorbit.train.progress import Progress
from jorbit.train.sgdml import SGDMLResult, fit_sgdml
from jorbit.train.sgdml_iterative import IterativeOptions

_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


class SGDMLConfig(pydantic.BaseModel):
    """How a kernel model is fitted; see `jorbit.fit_sgdml`."""

    model_config = _STRICT
    sigma: float | list[float] | None = pydantic.Field(
        default=None, description="length scale, or several to choose from; searched from 5 to 500 if absent"
    )
    permutations: str | list[list[int]] = pydantic.Field(
        default="feasible", description="none, feasible, topological, budget:P, translations, or a list of them"
    )
    regularization: float = pydantic.Field(default=1e-10, gt=0)
    use_energies: bool = pydantic.Field(default=False, description="fit energies as well as forces")
    images: Literal["exact", "round"] = "exact"
    solver: Literal["auto", "cholesky", "iterative"] = "auto"
    memory: float | None = pydantic.Field(default=None, gt=0, description="GiB to use; four fifths of what is free")
    tolerance: float = pydantic.Field(default=1e-4, gt=0, description="relative residual of the iterative solver")
    max_permutations: int = pydantic.Field(default=100, ge=1)
    seed: int = pydantic.Field(default=0, ge=0)

    def fit(
        self,
        train: Sequence[Frame],
        valid: Sequence[Frame],
        orbits: OrbitResult | None,
        output: Path,
        progress: Progress,
        *,
        resume: bool,
    ) -> SGDMLResult:
        """The fit that the section describes; an iterative one keeps its coefficients in <output>.alphas.npz."""
        checkpoint = output.with_name(f"{output.stem}.alphas.npz")
        options = {k: getattr(self, k) for k in type(self).model_fields if k != "tolerance"}
        return fit_sgdml(
            train,
            validation=valid or None,
            orbits=orbits,
            iterative=IterativeOptions(tolerance=self.tolerance, checkpoint=checkpoint, resume=resume),
            progress=progress,
            **options,
        )
