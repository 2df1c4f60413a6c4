"""The key `gap` of `jorbit train`: how Gaussian processes among the terms are fitted."""

from collections.abc import Sequence
from typing import Any, Literal

import pydantic

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import KernelTerm
from jorbit.core.structure import Frame
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gap import GAPResult, fit_gap
from jorbit.train.progress import Progress

Method = Literal["cur", "fps", "kmeans"]


class GAPConfig(pydantic.BaseModel):
    """How kernels are fitted; see `jorbit.fit_gap`."""

    model_config = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    delta: float | list[float] = pydantic.Field(default=1.0, description="scale of each kernel, eV")
    sigma_energy: float = pydantic.Field(default=0.001, gt=0, description="noise of energies, eV per root of atoms")
    sigma_forces: float = pydantic.Field(default=0.05, gt=0, description="noise of forces, eV/Å")
    sigma_virial: float = pydantic.Field(default=0.05, gt=0, description="noise of stress times volume, eV")
    optimize: bool = pydantic.Field(default=True, description="choose these four by marginal likelihood")
    points: Method | list[Method] | None = pydantic.Field(default=None, description="how sparse points are chosen")
    reference_energies: Literal["fit", "isolated"] | dict[str | int, float] | None = None
    seed: int = pydantic.Field(default=0, ge=0)

    def fit(self, potential: Potential, frames: Sequence[Frame], progress: Progress) -> GAPResult:
        """The fit that the section describes, of the kernels of a potential.

        Raises:
            ConfigError: other terms than kernels and reference energies, or not as many scales as kernels.
        """
        kernels = kernels_of(potential)
        others = [
            name
            for name, term in zip(potential.names, potential.terms, strict=True)
            if not isinstance(term, KernelTerm | ReferenceEnergy)
        ]
        if others:
            raise ConfigError(
                f"Kernels are fitted with each other and reference_energy only: leave out {', '.join(others)}, or "
                "train by gradients (the key gradient)."
            )
        if isinstance(self.delta, list) and len(self.delta) != len(kernels):
            raise ConfigError(f"gap.delta: wanted one scale for each of {len(kernels)} kernels, got {self.delta}.")
        return fit_gap(frames, kernels, progress=progress, **self.model_dump())


def kernels_of(potential: Potential) -> tuple[Any, ...]:
    """The Gaussian processes among the terms."""
    return tuple(term for term in potential.terms if isinstance(term, KernelTerm))
