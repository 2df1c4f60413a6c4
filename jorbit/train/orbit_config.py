"""The key `orbits` of `jorbit train`: find orbits in the training frames, or read them, and label all frames."""

import dataclasses
from typing import Literal

import pydantic

from jorbit.basis.label_embedding import parent_rows
from jorbit.core.species import SpeciesTable
from jorbit.orbits import OrbitOptions, OrbitResult, find_orbits
from jorbit.potential.orbit_reference import FoundOrbits
from jorbit.train.labelled import label_frames
from jorbit.train.orbit_weights import weigh_orbits
from jorbit.train.split import Split

_STRICT = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
_Options = pydantic.create_model(
    "_Options",
    __config__=_STRICT,
    **{f.name: (f.type, f.default) for f in dataclasses.fields(OrbitOptions)},  # type: ignore[call-overload]
)


class OrbitsConfig(_Options):  # type: ignore[misc, valid-type]
    """How atoms of one element are told apart; the other keys are options of `jorbit.find_orbits`."""

    file: str | None = pydantic.Field(default=None, description="orbits saved as JSON, instead of finding them")
    neighbors: Literal["elements", "orbits"] = pydantic.Field(
        default="elements", description="what atoms see around them: elements (few parameters), or orbits as well"
    )
    weights: Literal["equal", "variance"] | None = pydantic.Field(
        default=None, description="weigh forces so that all orbits count alike, or by the size of their forces"
    )

    def result(self, split: Split) -> OrbitResult:
        """The orbits: from the file, or of the training frames.

        Raises:
            DataError: no such file, or training frames that are not one system in one order.
        """
        if self.file is not None:
            return OrbitResult.from_json(self.file)
        own = {f.name for f in dataclasses.fields(OrbitOptions)}
        return find_orbits(split.train, **{k: getattr(self, k) for k in self.model_fields_set & own})

    def channels(self, species: SpeciesTable) -> tuple[int, ...] | None:
        """Channel of each row of the species table as a neighbour; None = its own."""
        return tuple(parent_rows(species).tolist()) if self.neighbors == "elements" else None


def attach_orbits(config: OrbitsConfig | None, split: Split) -> tuple[Split, FoundOrbits | None]:
    """All frames labelled, and the reference that the potential keeps.

    Raises:
        OrbitError: a frame that is not the system the orbits were found in.
    """
    if config is None:
        return split, None
    reference = FoundOrbits.of(config.result(split))
    return Split(*(label_frames(part, reference) for part in split)), reference


def with_orbit_weights(config: OrbitsConfig | None, split: Split) -> Split:
    """Labelled training frames with weights by orbit, where the configuration wants any; see `weigh_orbits`."""
    if config is None or config.weights is None:
        return split
    return split._replace(train=weigh_orbits(split.train, config.weights))
