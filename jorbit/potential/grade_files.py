"""Uncertainties and extrapolation grades as JSON and arrays, for model files.

What a grade shares with the potential (its terms, its parameters) is not written twice: it comes from the file's own.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jorbit.core.errors import ModelFileError
from jorbit.core.protocols import Params
from jorbit.potential.extrapolation import DistanceGrade, SelectionGrade
from jorbit.potential.feature_rows import KernelRows, LastLayerRows, SpeciesRows, path_of
from jorbit.potential.potential import Potential
from jorbit.potential.spec import decode_component, encode_component, encode_value, flatten_params, unflatten_params
from jorbit.potential.uncertainty import Ensemble, Grade, LinearUncertainty, ProcessUncertainty

GRADES = {
    "linear": LinearUncertainty,
    "process": ProcessUncertainty,
    "ensemble": Ensemble,
    "selection": SelectionGrade,
    "distance": DistanceGrade,
}
_ROWS = {cls.__name__: cls for cls in (SpeciesRows, LastLayerRows, KernelRows)}
_PREFIX = "grades"  # of the names of arrays in a file


def encode_grades(
    grades: Mapping[str, Grade], potential: Potential, params: Params
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON, arrays by name) of grades of one potential.

    Raises:
        ModelFileError: a grade of another potential, or of a kind that no file can keep.
    """
    encoded, arrays = {}, {}
    for name, grade in grades.items():
        kind = next((k for k, cls in GRADES.items() if type(grade) is cls), None)
        if kind is None or not isinstance(name, str):
            raise ModelFileError(
                f"A model file keeps grades of the kinds {', '.join(GRADES)}; {name!r} is a {grade!r:.80}."
            )
        own: Any = getattr(grade, "potential", potential)
        if own != potential:
            raise ModelFileError(f"The grade {name!r} belongs to another potential than the one that is saved.")
        fields = {f.name: getattr(grade, f.name) for f in dataclasses.fields(typing.cast(Any, grade))}
        fields.pop("potential", None)
        static = {"rows": fields.pop("rows", None), "descriptor": fields.pop("descriptor", None)}
        fields["params"] = _without_shared(fields.get("params", {}), params)
        if "half" in fields:
            fields["half"] = _packed(np.asarray(fields["half"]))
        tree, tensors = flatten_params(fields)
        encoded[name] = {
            "kind": kind,
            "rows": None if static["rows"] is None else encode_value(static["rows"], "rows"),
            "descriptor": None if static["descriptor"] is None else encode_component(static["descriptor"]),
            "tree": _renamed(tree, f"{_PREFIX}/{name}/"),
        }
        arrays |= {f"{_PREFIX}/{name}/{key}": value for key, value in tensors.items()}
    return encoded, arrays


def decode_grades(
    encoded: Mapping[str, Any], tensors: Mapping[str, np.ndarray], potential: Potential, params: Params
) -> dict[str, Grade]:
    """The inverse of `encode_grades`.

    Raises:
        ModelFileError: a kind that this version of jorbit does not know.
    """
    return {name: _decode(spec, tensors, potential, params) for name, spec in encoded.items()}


def is_of_grade(name: str) -> bool:
    """Whether an array of a file belongs to a grade."""
    return name.startswith(f"{_PREFIX}/")


def _decode(spec: Mapping[str, Any], tensors: Mapping[str, np.ndarray], potential: Potential, params: Params) -> Grade:
    if spec["kind"] not in GRADES:
        raise ModelFileError(f"The file holds an uncertainty of the unknown kind {spec['kind']!r}: update jorbit.")
    cls: Any = GRADES[spec["kind"]]
    fields = unflatten_params(spec["tree"], tensors)
    names = {f.name for f in dataclasses.fields(cls)}
    if "potential" in names:
        fields["potential"] = potential
    if "params" in names:
        fields["params"] = _with_shared(fields["params"], params)
    else:
        fields.pop("params")
    if "half" in fields:
        fields["half"] = _unpacked(fields["half"])
    if spec["rows"] is not None:
        fields["rows"] = _decode_rows(spec["rows"])
    if spec["descriptor"] is not None:
        fields["descriptor"] = decode_component(spec["descriptor"])
    return cls(**fields)


def _decode_rows(spec: Mapping[str, Any]) -> Any:
    if spec.get("dataclass") not in _ROWS:
        raise ModelFileError(f"The file holds features of the unknown kind {spec.get('dataclass')!r}: update jorbit.")

    def plain(value: Any) -> Any:
        if isinstance(value, dict) and "tuple" in value:
            return tuple(plain(v) for v in value["tuple"])
        return float(value["float"]) if isinstance(value, dict) else value

    return _ROWS[spec["dataclass"]](**{k: plain(v) for k, v in spec["options"].items()})


def _without_shared(own: Params, shared: Params) -> dict[str, Any]:
    """Arrays by path; None for those that have the bits of the potential's parameters at the same path."""
    known = {path_of(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(shared)}
    result: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(own):
        array, other = np.asarray(leaf), known.get(path_of(path))
        same = other is not None and other.dtype == array.dtype and other.shape == array.shape
        result[path_of(path)] = None if same and other.tobytes() == array.tobytes() else array  # type: ignore[union-attr]
    return result


def _with_shared(own: Mapping[str, Any], shared: Params) -> dict[str, Any]:
    known = {path_of(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(shared)}
    if set(own) == set(known):  # the very tree of the potential
        return jax.tree_util.tree_map_with_path(
            lambda p, leaf: leaf if own[path_of(p)] is None else own[path_of(p)], shared
        )
    nested: dict[str, Any] = {}
    for path, leaf in own.items():
        *parents, last = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = known[path] if leaf is None else leaf
    return nested


def _packed(half: Any) -> dict[str, Any]:
    """Without the zeros below the diagonal."""
    if half.shape[0] == half.shape[1] and not np.tril(half, -1).any():
        return {"triangle": half[np.triu_indices(len(half))], "n": np.array(len(half))}
    return {"full": half}


def _unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    if "full" in packed:
        return packed["full"]
    n = int(packed["n"])
    half = np.zeros((n, n), packed["triangle"].dtype)
    half[np.triu_indices(n)] = packed["triangle"]
    return half


def _renamed(tree: Any, prefix: str) -> Any:
    """The same tree with other names of arrays."""
    if isinstance(tree, dict) and "tensor" in tree:
        return {"tensor": prefix + tree["tensor"]}
    if isinstance(tree, dict) and "dict" in tree:
        return {"dict": [[key, _renamed(node, prefix)] for key, node in tree["dict"]]}
    return tree
