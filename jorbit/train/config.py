"""The configuration of `jorbit train`: YAML, checked against the components' own dataclasses before any work starts."""

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Descriptor
from jorbit.core.registry import Registry
from jorbit.core.species import SpeciesTable
from jorbit.descriptors import DESCRIPTORS
from jorbit.models import MODELS
from jorbit.potential.potential import Potential
from jorbit.terms import TERMS
from jorbit.train.design import FitWeights
from jorbit.train.gap_config import GAPConfig
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.heads import OWN
from jorbit.train.objective import LossWeights
from jorbit.train.orbit_config import OrbitsConfig
from jorbit.train.sgdml_config import SGDMLConfig

_STRICT = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
_AUTOMATIC = ("n_species",)  # filled in from the data
_NOT_OPTIONS = ("name", "parent")  # fields that flax adds to every module

Source = str | list[str]
Part = Source | int | float | None

EXAMPLE = """\
# Run with: jorbit train config.yaml
data:
  train: ethanol_gfn2      # a file (extxyz, npz, anything ASE reads), a data set, data set:split, or a list of these
  train_size: 500          # frames (or a fraction) taken from it at random; all that valid and test leave if absent
  valid: 100               # frames (or a fraction) taken from it, or files of their own
  test: 0.2
  seed: 0
potential:                 # a sum of terms; `jorbit list` shows them all
  - name: reference_energy
  - name: linear_ace
    cutoff: 5.0            # Å
    max_degree: [10, 6, 4] # of 2-, 3- and 4-body functions; larger is more accurate and slower
fit:
  prior: bayes             # or ridge (with ridge: 1e-6), or validation
  weights: {energy: 30, forces: 1, stress: 1} # of errors, before they are squared
# Networks (jorbit list) are trained by gradients, as the key gradient says instead of fit:
# potential: [{name: reference_energy}, {name: readout, descriptor: {name: ace, max_degree: [6, 4]}, hidden: [32, 32]}]
# gradient: {epochs: 200, batch_size: 8, loss: {energy: 100, forces: 1}, learning_rate: 0.005, patience: 50}
#   also: members: 4 (an ensemble), log_to: [tensorboard], on_disk: true (larger than memory; data from .h5 files),
#   initial: model.safetensors (fine-tuning), freeze: ["*/embedding"], adopt: {Br: Cl} (Br starts as a twin of Cl)
# One molecule, from a few hundred frames with forces, is learned by a kernel model, instead of potential: and fit:
# sgdml: {permutations: feasible}
# Kernels (gap, two_body_gap, three_body_gap) are fitted together, with error bars kept in the model file:
# potential: [{name: reference_energy}, {name: two_body_gap},
#   {name: gap, descriptor: {name: soap}, n_points: 500}]
# gap: {delta: [1.0, 0.1], sigma_forces: 0.05}
# orbits: {weights: equal} # find interchangeable atoms in the training frames, and give every orbit its own parameters
# heads:                   # levels of theory learned together; "model.safetensors#ccsd" is then the model of one head
#   name: dft              # of 'data'
#   data: {ccsd: {train: ccsd.extxyz, valid: 50}}
#   own: ["*readout*"]     # what every head has for itself; the rest is shared
output: model.safetensors
"""


class DataConfig(pydantic.BaseModel):
    """Where frames come from."""

    model_config = _STRICT
    train: Source = pydantic.Field(description="file(s), data set, or data-set:split to train on")
    train_size: int | float | None = pydantic.Field(
        default=None, description="frames or fraction; all the rest if absent"
    )
    valid: Part = pydantic.Field(default=None, description="file(s), or how much of the training source to hold out")
    test: Part = pydantic.Field(default=None, description="file(s), or how much of the training source to hold out")
    seed: int = pydantic.Field(default=0, ge=0, description="of the random split")
    limit: int | None = pydantic.Field(default=None, gt=0, description="read at most this many frames of each source")


class HeadsConfig(pydantic.BaseModel):
    """Further sets of labels that the network learns at the same time; see `jorbit.train.gradient.train_heads`."""

    model_config = _STRICT
    name: str = pydantic.Field(default="default", min_length=1, description="of the head that 'data' is for")
    data: dict[str, DataConfig] = pydantic.Field(min_length=1, description="name of each other head -> its frames")
    own: list[str] = pydantic.Field(
        default_factory=lambda: list(OWN), min_length=1, description="patterns of parameters that each head has alone"
    )
    reference_energies: dict[str, Literal["fit", "isolated", "keep"] | dict[str | int, float]] = pydantic.Field(
        default_factory=dict, description="of heads by name, where gradient.reference_energies does not hold"
    )


def _options_of(cls: type, skip: Sequence[str] = ()) -> dict[str, Any]:
    """Field name -> (type, default) of a dataclass, as pydantic.create_model wants them."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if not field.init or field.name in skip:
            continue
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=field.default_factory)
        kind = dict[str, Any] if field.type is Descriptor else field.type
        result[field.name] = (kind, default)
    return result


WeightsConfig = pydantic.create_model("WeightsConfig", __config__=_STRICT, **_options_of(FitWeights))


class FitConfig(pydantic.BaseModel):
    """How the parameters are found; see `jorbit.fit`."""

    model_config = _STRICT
    prior: Literal["bayes", "ridge", "validation"] = "bayes"
    ridge: float | None = pydantic.Field(default=None, ge=0)
    solver: Literal["cholesky", "qr"] = "cholesky"
    weights: WeightsConfig = pydantic.Field(default_factory=WeightsConfig)  # type: ignore[valid-type]
    reference_energies: Literal["fit", "isolated"] | dict[str | int, float] | None = None
    seed: int = pydantic.Field(default=0, ge=0)


LossConfig = pydantic.create_model("LossConfig", __config__=_STRICT, **_options_of(LossWeights))
_GradientOptions = pydantic.create_model(
    "_GradientOptions", __config__=_STRICT, **_options_of(GradientConfig, skip=("loss",))
)


class GradientSection(_GradientOptions):  # type: ignore[misc, valid-type]
    """How networks are trained; see `jorbit.train.gradient_config.GradientConfig`."""

    loss: LossConfig = pydantic.Field(default_factory=LossConfig)  # type: ignore[valid-type]
    initial: str | None = pydantic.Field(default=None, description="model file to start from (fine-tuning)")
    adopt: dict[str, str] = pydantic.Field(
        default_factory=dict, description="new element -> element of the model file that it starts as a twin of"
    )
    keep_elements: list[str] | None = pydantic.Field(
        default=None, description="elements of the model file that stay; all if absent"
    )
    folder: str | None = pydantic.Field(
        default=None, description="where log and checkpoints go; <output without suffix>.run if absent"
    )

    def build(self) -> GradientConfig:
        """The settings as the library wants them."""
        options = {k: getattr(self, k) for k in _GradientOptions.model_fields}
        changed = bool(self.adopt) or self.keep_elements is not None
        if changed and self.initial is None:
            raise ConfigError("gradient: adopt and keep_elements change the elements of a model file: give 'initial'.")
        if self.adopt and options["reference_energies"] is None:
            raise ConfigError(
                "gradient.adopt: say where the reference energies of the new elements come from: reference_energies is "
                "'fit', 'isolated', a dictionary, or 'keep' for those of their twins."
            )
        try:
            return GradientConfig(loss=LossWeights(**self.loss.model_dump()), **options)  # type: ignore[attr-defined]
        except ConfigError as error:
            raise ConfigError(f"The configuration is not valid: gradient: {error}") from error


class TrainConfig(pydantic.BaseModel):
    """Everything `jorbit train` needs to know."""

    model_config = _STRICT
    data: DataConfig
    potential: list[dict[str, Any]] = pydantic.Field(
        default_factory=lambda: [{"name": "reference_energy"}, {"name": "linear_ace"}], min_length=1
    )
    fit: FitConfig = pydantic.Field(default_factory=FitConfig)
    gradient: GradientSection | None = pydantic.Field(default=None, description="for potentials that are not linear")
    gap: GAPConfig | None = pydantic.Field(default=None, description="scales and noise of Gaussian processes")
    sgdml: SGDMLConfig | None = pydantic.Field(default=None, description="a kernel model of one molecule")
    orbits: OrbitsConfig | None = pydantic.Field(default=None, description="tell atoms of one element apart")
    heads: HeadsConfig | None = pydantic.Field(default=None, description="other levels of theory, learned together")
    output: str = "model.safetensors"

    def build_potential(self, species: SpeciesTable) -> Potential:
        """The sum of terms for these species."""
        terms = []
        channels = self.orbits.channels(species) if self.orbits is not None and species.has_orbits else None
        for k, spec in enumerate(self.potential):
            terms.append(_build(spec, f"potential[{k}]", (MODELS, TERMS), species, channels))
        return Potential(terms=tuple(terms), species=species)

    @property
    def folder(self) -> Path:
        """Where the log and the checkpoints of a gradient training go."""
        given = None if self.gradient is None else self.gradient.folder
        return Path(given) if given else Path(self.output).with_suffix(".run")


def load_config(source: str | os.PathLike | Mapping[str, Any]) -> TrainConfig:
    """Read and check a configuration.

    Args:
        source: a YAML file, or a mapping of the same form.

    Raises:
        ConfigError: not readable, not YAML, an unknown key (with the closest known one), a value of the wrong kind.

    Example:
        >>> load_config({"data": {"train": "ethanol_gfn2"}}).fit.prior
        'bayes'
    """
    content = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    config = validate(TrainConfig, content, "")
    for k, spec in enumerate(config.potential):
        if spec.get("name") == "sgdml":
            raise ConfigError("sgdml is made by a fit of its own: write the key 'sgdml' instead of 'potential'.")
        _check(spec, f"potential[{k}]", (MODELS, TERMS))
    others = sorted({"potential", "fit", "gap", "gradient"} & config.model_fields_set)
    if config.sgdml is not None and others:
        raise ConfigError(f"The configuration is not valid: 'sgdml' stands alone: leave out {', '.join(others)}.")
    of_networks = {"weights", "neighbors"} & (set() if config.orbits is None else config.orbits.model_fields_set)
    if config.sgdml is not None and of_networks:
        raise ConfigError(
            f"The configuration is not valid: 'sgdml' takes permutations from orbits, and no {', '.join(of_networks)}: "
            "leave that out."
        )
    if config.gradient is not None and config.gap is not None:
        raise ConfigError("The configuration is not valid: 'gap' and 'gradient' are two ways of training: take one.")
    if config.gradient is not None:
        config.gradient.build()
    if config.heads is not None:
        _check_heads(config, config.heads)
    return config


def _check_heads(config: TrainConfig, heads: HeadsConfig) -> None:
    """Heads go with training by gradients, of one model, with elements."""
    for key in ("gap", "sgdml", "orbits"):
        if getattr(config, key) is not None:
            raise ConfigError(f"The configuration is not valid: 'heads' are of networks: leave out {key!r}.")
    if heads.name in heads.data:
        raise ConfigError(
            f"heads.data has a head {heads.name!r}, which is that of 'data': give heads.name another name."
        )
    unknown = sorted(set(heads.reference_energies) - {heads.name, *heads.data})
    if unknown:
        raise ConfigError(f"heads.reference_energies names {unknown}; the heads are {[heads.name, *heads.data]}.")


def _check(spec: Any, where: str, registries: tuple[Registry, ...]) -> pydantic.BaseModel:
    """Options of a component, and of the descriptors within it, as the types they must have."""
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        example = next(iter(registries[0]))
        raise ConfigError(f"{where} needs a name, such as {example!r}. `jorbit list` shows all of them.")
    cls = _registry_of(name, where, registries).load(name)
    for key in _AUTOMATIC:
        if key in spec and key in _field_names(cls):
            raise ConfigError(f"{where}.{key} is found from the data: leave it out.")
    checked = validate(component_model(name, registries), {key: v for key, v in spec.items() if key != "name"}, where)
    for key in _descriptors_in(cls) & checked.model_fields_set:
        _check(getattr(checked, key), f"{where}.{key}", (DESCRIPTORS,))
    return checked


def _build(
    spec: Mapping[str, Any],
    where: str,
    registries: tuple[Registry, ...],
    species: SpeciesTable,
    channels: tuple[int, ...] | None,
) -> Any:
    """The component that a mapping describes."""
    checked = _check(spec, where, registries)
    cls = _registry_of(spec["name"], where, registries).load(spec["name"])
    found = {"n_species": len(species)} | ({} if channels is None else {"channel_of": channels})
    automatic = {k: v for k, v in found.items() if k in _field_names(cls)}
    given = {k: getattr(checked, k) for k in checked.model_fields_set}
    for key in _descriptors_in(cls) & set(given):
        given[key] = _build(given[key], f"{where}.{key}", (DESCRIPTORS,), species, channels)
    return cls(**automatic | given)


def _descriptors_in(cls: type) -> set[str]:
    """Options of a component that are descriptors."""
    return {f.name for f in dataclasses.fields(cls) if f.type is Descriptor}


def component_model(name: str, registries: tuple[Registry, ...] = (MODELS, TERMS)) -> type[pydantic.BaseModel]:
    """A pydantic model of the options of a registered component; unknown keys are refused."""
    cls = _registry_of(name, "potential", registries).load(name)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ConfigError(f"The component {name!r} is no dataclass, so its options cannot be checked.")
    return pydantic.create_model(name, __config__=_STRICT, **_options_of(cls, (*_AUTOMATIC, *_NOT_OPTIONS)))


def json_schema() -> dict[str, Any]:
    """JSON schema of the YAML file with the options of every registered component, for editors that complete by it."""
    schema = TrainConfig.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    choices = []
    for name in [*MODELS, *TERMS]:
        try:
            component = component_model(name).model_json_schema()
        except pydantic.errors.PydanticInvalidForJsonSchema:  # a type that JSON has no word for
            component = {"type": "object", "properties": {}}
        definitions |= component.pop("$defs", {})
        component["properties"] = {"name": {"const": name}} | component["properties"]
        component["required"] = ["name", *component.get("required", [])]
        definitions[name] = component
        choices.append({"$ref": f"#/$defs/{name}"})
    schema["properties"]["potential"]["items"] = {"oneOf": choices}
    return schema


def _field_names(cls: type) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


def _registry_of(name: str, where: str, registries: tuple[Registry, ...] = (MODELS, TERMS)) -> Registry:
    for registry in registries:
        if name in registry:
            return registry
    known = [known for registry in registries for known in registry]
    what = "term" if MODELS in registries else registries[0].kind
    raise ConfigError(
        f"{where}: there is no {what} called {name!r}.{_hint(name, known)} Known: {', '.join(sorted(known))}."
    )


def _hint(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must hold keys and values (data:, potential:, fit:, output:), got {type(content).__name__}."
        )
    return content


def validate(model: type[Any], content: Any, where: str) -> Any:
    """Content as a pydantic model; errors in the words of the file."""
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, model, where)) from error


def _explain(error: pydantic.ValidationError, model: type[pydantic.BaseModel], where: str) -> str:
    """One line per distinct key, in the words of the file."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        known, path = _known_keys(model, problem["loc"])
        place = ".".join([where, *path] if where else path)
        if problem["type"] == "extra_forbidden":
            word = path[-1]
            text = f"unknown key {place!r}.{_hint(word, known)} Known here: {', '.join(known)}."
        elif problem["type"] == "missing":
            text = f"the key {place!r} is missing."
        else:
            text = f"{place!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}."
        lines.setdefault(place, text)
    return "The configuration is not valid: " + " ".join(lines.values())


def _known_keys(model: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The keys allowed where an error occurred, and the path to it without pydantic's names of union branches."""
    known, path = list(model.model_fields), []
    for step in location:
        if model is None:
            break
        path.append(str(step))
        field = model.model_fields.get(step) if isinstance(step, str) else None
        known = list(model.model_fields)
        inner = [] if field is None else [field.annotation, *typing.get_args(field.annotation)]
        models = (c for c in inner if isinstance(c, type) and issubclass(c, pydantic.BaseModel))
        model = next(models, None)
    return known, path
