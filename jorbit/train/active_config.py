"""The configuration of `jorbit active`, and what fits a model in each of its rounds."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import pydantic

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.train.active import ActivePlan, Model
from jorbit.train.config import DataConfig, FitConfig, GradientSection, TrainConfig, load_config
from jorbit.train.design import FitWeights
from jorbit.train.fit import fit
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.run import read_split, trains_by_gradient
from jorbit.train.split import Split
from jorbit.train.uncertainty import fit_uncertainty, last_layer_uncertainty

_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)

EXAMPLE = """\
# Run with: jorbit active config.yaml      (again after an interruption: it goes on where it stopped)
data:
  train: ethanol_gfn2      # labelled frames to start from
  train_size: 20
  test: 200                # labelled frames that only measure the error
potential:
  - name: reference_energy
  - {name: linear_ace, cutoff: 4.0, max_degree: [8, 5, 3]}
explore:                   # molecular dynamics with the newest model
  temperatures: [300, 600, 1000]   # K, one walker each
  steps: 2000
  every: 50                # steps between two candidates
  stop_above: 0.3          # eV, standard deviation of the energy at which a walk ends
  bias_height: 0.0         # eV; above 0 walks are drawn to what the model knows little about
# explore: {pool: unlabelled.xyz}  # instead: choose from a file
select: {method: reduction, per_round: 20}
label: {method: gfn2}      # or {calculator: "ase.calculators.emt:EMT", options: {}}, or {method: file}: by hand
rounds: 8
force_mae: 0.0             # eV/Å on the test frames, below which to stop; 0 = after all rounds
output: active             # folder
"""


class ExploreConfig(pydantic.BaseModel):
    """Where candidates come from."""

    model_config = _STRICT
    temperatures: list[float] = pydantic.Field(default=[300.0], min_length=1)
    steps: int = pydantic.Field(default=2000, ge=1)
    every: int = pydantic.Field(default=50, ge=1)
    timestep: float = pydantic.Field(default=0.5, gt=0)
    stop_above: float = pydantic.Field(default=0.3, gt=0)
    bias_height: float = pydantic.Field(default=0.0, ge=0)
    bias_width: float = pydantic.Field(default=0.1, gt=0)
    pool: str | None = None


class SelectConfig(pydantic.BaseModel):
    """Which candidates are labelled."""

    model_config = _STRICT
    method: Literal["reduction", "information", "uncertain", "random"] = "reduction"
    per_round: int = pydantic.Field(default=20, ge=1)
    noise: float = pydantic.Field(default=0.05, gt=0)
    closest: float = pydantic.Field(default=0.7, ge=0)


class LabelConfig(pydantic.BaseModel):
    """Who labels them."""

    model_config = _STRICT
    method: Literal["gfn2", "gfn1", "file"] | None = None
    calculator: str | None = None
    options: dict[str, Any] = pydantic.Field(default_factory=dict)


class ActiveConfig(pydantic.BaseModel):
    """Everything `jorbit active` needs to know."""

    model_config = _STRICT
    data: DataConfig
    potential: list[dict[str, Any]] | None = None
    fit: FitConfig = pydantic.Field(default_factory=FitConfig)
    gradient: GradientSection | None = None
    explore: ExploreConfig = pydantic.Field(default_factory=ExploreConfig)
    select: SelectConfig = pydantic.Field(default_factory=SelectConfig)
    label: LabelConfig = pydantic.Field(default_factory=lambda: LabelConfig(method="gfn2"))
    rounds: int = pydantic.Field(default=5, ge=1)
    force_mae: float = pydantic.Field(default=0.0, ge=0)
    seed: int = pydantic.Field(default=0, ge=0)
    output: str = "active"

    @property
    def plan(self) -> ActivePlan:
        """The rounds."""
        s = self.select
        return ActivePlan(
            self.rounds, s.per_round, s.method, s.noise, self.force_mae, closest=s.closest, seed=self.seed
        )

    @property
    def training(self) -> TrainConfig:
        """The part that `jorbit train` knows, checked as there."""
        given = {k: getattr(self, k) for k in ("potential", "gradient") if getattr(self, k) is not None}
        plain = {
            k: v.model_dump(exclude_unset=True) if isinstance(v, pydantic.BaseModel) else v for k, v in given.items()
        }
        data, fit_options = (getattr(self, k).model_dump(exclude_unset=True) for k in ("data", "fit"))
        return load_config(plain | {"data": data} | ({"fit": fit_options} if self.gradient is None else {}))


def load_active_config(source: str | os.PathLike | Mapping[str, Any]) -> ActiveConfig:
    """Read and check a configuration: a YAML file, or a mapping of the same form.

    Raises:
        ConfigError: not readable, an unknown key, a value of the wrong kind.

    Example:
        >>> load_active_config({"data": {"train": "ethanol_gfn2", "train_size": 20}}).rounds
        5
    """
    from jorbit.train.config import read_yaml, validate

    content = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    config = validate(ActiveConfig, content, "")
    if (config.label.method is None) == (config.label.calculator is None):
        raise ConfigError("label needs either a method (gfn2, gfn1 or file) or a calculator ('module:Class').")
    _ = config.training
    return config


def start_frames(config: ActiveConfig) -> Split:
    """The labelled frames to start from and to test on."""
    return read_split(config.training.data)


def fitter(config: ActiveConfig, frames: Sequence[Frame]) -> Callable[[list[Frame]], Model]:
    """What fits the potential of the configuration, in closed form or by gradients, with its uncertainty.

    Args:
        config: of the whole run.
        frames: all elements occur in them.
    """
    training = config.training
    potential = training.build_potential(SpeciesTable.from_structures(f.structure for f in frames))
    weights = FitWeights(**training.fit.weights.model_dump())  # type: ignore[attr-defined]

    def closed_form(frames: list[Frame]) -> Model:
        f = training.fit
        made = fit(
            frames,
            potential,
            prior=f.prior,
            ridge=f.ridge,
            solver=f.solver,
            weights=weights,
            reference_energies=f.reference_energies,
            seed=f.seed,
        )
        grade: Any = fit_uncertainty(made.report)
        return Model(made.potential, made.params, grade)

    def by_gradient(frames: list[Frame]) -> Model:
        settings = GradientConfig() if training.gradient is None else training.gradient.build()
        bound = [k for k, f in enumerate(frames) if not is_isolated_atom(f)]
        held_out = set(bound[: max(1, len(frames) // 10)] if len(bound) > 1 else [])
        rest = [f for k, f in enumerate(frames) if k not in held_out]
        params, _ = train_by_gradient(potential, rest, [frames[k] for k in sorted(held_out)], settings)
        params = jax.device_get(params)
        return Model(potential, params, last_layer_uncertainty(potential, params, frames))

    return by_gradient if trains_by_gradient(training, potential) else closed_form
