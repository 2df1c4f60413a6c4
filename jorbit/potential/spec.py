"""What a model file says about itself: components, options and parameter trees as JSON, and back.

Only registered components are ever constructed, from JSON values: nothing in a file can name code to run.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jorbit.core.errors import ConfigError, JorbitError, ModelFileError
from jorbit.core.protocols import Params, Term
from jorbit.core.registry import Registry
from jorbit.descriptors import DESCRIPTORS
from jorbit.models import MODELS
from jorbit.terms import TERMS

SEAMS: dict[str, Registry] = {registry.kind: registry for registry in (MODELS, TERMS, DESCRIPTORS)}


def encode_term(term: Term) -> dict[str, Any]:
    """Seam, registered name and options of a term."""
    encoded = encode_component(term)
    if encoded is None:
        cls = type(term)
        raise ModelFileError(
            f"{cls.__module__}.{cls.__qualname__} is in no table, so no file could bring it back: add one line to "
            'MODELS or TERMS, or an entry point in "jorbit.models" or "jorbit.terms".'
        )
    return encoded


def encode_component(component: Any) -> dict[str, Any] | None:
    """Seam, registered name and options; None for what is in no table."""
    for registry in SEAMS.values():
        try:
            name = registry.name_of(type(component))
        except ConfigError:
            continue
        return {"seam": registry.kind, "component": name, "options": _encode_options(component)}
    return None


def decode_component(spec: Mapping[str, Any]) -> Any:
    """The term (or the descriptor inside one) a spec describes.

    Raises:
        ModelFileError: a component or an option that this installation does not know; says which is close.
    """
    seam, name = spec["seam"], spec["component"]
    if seam not in SEAMS:
        raise ModelFileError(f"The file holds a {seam!r}, which this version of jorbit does not have: update jorbit.")
    try:
        cls = SEAMS[seam].load(name)
    except ConfigError as error:
        raise ModelFileError(f"{error} Install the package that provides it, or update jorbit.") from error
    return _decode_dataclass(cls, spec["options"], f"{seam} {name!r}")


def _option_names(cls: type) -> list[str]:
    """Fields that configure a component; flax's own `parent` and `name` are not among them."""
    own = {"parent", "name"} if hasattr(cls, "init_with_output") else set()
    return [f.name for f in dataclasses.fields(cls) if f.init and f.name not in own]


def _encode_options(component: Any) -> dict[str, Any]:
    return {name: encode_value(getattr(component, name), name) for name in _option_names(type(component))}


def encode_value(value: Any, where: str) -> Any:
    """An option as JSON; tuples, dictionaries and nested dataclasses are marked so that they come back as they were."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, tuple):
        return {"tuple": [encode_value(v, where) for v in value]}
    if isinstance(value, list):
        return [encode_value(v, where) for v in value]
    if isinstance(value, Mapping):
        return {"dict": [[encode_value(k, where), encode_value(v, where)] for k, v in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if component := encode_component(value):
            return component
        return {"dataclass": type(value).__name__, "options": _encode_options(value)}
    raise ModelFileError(
        f"The option {where!r} holds a {type(value).__name__}, which a model file cannot keep. Wanted numbers, "
        "strings, None, tuples, dictionaries or frozen dataclasses of those."
    )


def _decode_value(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        return [_decode_value(v, hint) for v in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "tuple" in value:
        return tuple(_decode_value(v, hint) for v in value["tuple"])
    if "dict" in value:
        return {_decode_value(k, hint): _decode_value(v, hint) for k, v in value["dict"]}
    if "component" in value:
        return decode_component(value)
    for cls in _dataclasses_in(hint):
        if cls.__name__ == value["dataclass"]:
            return _decode_dataclass(cls, value["options"], cls.__name__)
    raise ModelFileError(f"The file holds an option of the unknown kind {value['dataclass']!r}: update jorbit.")


def _dataclasses_in(hint: Any) -> Iterator[type]:
    """Dataclasses named in a type annotation: the only classes that an option may hold."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _dataclasses_in(inner)


def _decode_dataclass(cls: type, options: Mapping[str, Any], label: str) -> Any:
    known = _option_names(cls)
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ModelFileError(
                f"The {label} has no option {name!r}.{hint} It takes {', '.join(known) or 'none'}. "
                "A file of another version? Update jorbit."
            )
    hints = typing.get_type_hints(cls)
    values = {name: _decode_value(value, hints.get(name)) for name, value in options.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError, JorbitError) as error:
        raise ModelFileError(f"The {label} cannot be made from the options in the file: {error}") from error


def flatten_params(params: Params) -> tuple[Any, dict[str, np.ndarray]]:
    """Nested dictionaries, lists and tuples of arrays -> (their shape as JSON, arrays by name)."""
    tensors: dict[str, np.ndarray] = {}

    def visit(node: Any, path: str) -> Any:
        if node is None:
            return {"none": True}
        if isinstance(node, Mapping):
            return {"dict": [[_key(k, path), visit(v, f"{path}/{k}")] for k, v in node.items()]}
        if type(node) in (list, tuple):
            return {type(node).__name__: [visit(v, f"{path}/{k}") for k, v in enumerate(node)]}
        name = _unused(path.lstrip("/") or "params", tensors)
        tensors[name] = _array(node, path)
        return {"tensor": name}

    return visit(params, ""), tensors


def unflatten_params(tree: Any, tensors: Mapping[str, np.ndarray]) -> Params:
    """The inverse of `flatten_params`."""
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "dict" in tree:
        return {key: unflatten_params(node, tensors) for key, node in tree["dict"]}
    if "list" in tree:
        return [unflatten_params(node, tensors) for node in tree["list"]]
    if "tuple" in tree:
        return tuple(unflatten_params(node, tensors) for node in tree["tuple"])
    return None


def _key(key: Any, path: str) -> str | int:
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise ModelFileError(f"Parameters at {path or '/'} have the key {key!r}: wanted strings or whole numbers.")
    return key


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name itself, or with a number behind it where another path spells the same name ("a/b": x, "a": {"b": y})."""
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}#{n}"
    return candidate


def _array(leaf: Any, path: str) -> np.ndarray:
    array = np.asarray(leaf, order="C")
    if array.dtype.kind not in "fiubV" or array.dtype.names:
        raise ModelFileError(f"Parameters at {path or '/'} are a {type(leaf).__name__}: wanted arrays of numbers.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
