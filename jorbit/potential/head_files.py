"""Several heads in one model file: complete parameters by name, of which what they share is written once."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.core.errors import ModelFileError
from jorbit.core.protocols import Params
from jorbit.potential.spec import flatten_params

_PREFIX = "heads"  # of the names of arrays in a file


def split_head(path: str | os.PathLike[str], head: str | None) -> tuple[pathlib.Path, str | None]:
    """File and head of "model.safetensors#head"; a file that is really called so is that file.

    Example:
        >>> split_head("model.safetensors#ccsd", None)[1]
        'ccsd'
    """
    path = pathlib.Path(path)
    if head is None and "#" in path.name and not path.exists():
        name, head = path.name.rsplit("#", 1)
        path = path.with_name(name)
    return path, head


def encode_heads(heads: Mapping[str, Params], params: Params) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON, arrays by name) of the parameters of heads, one of which are `params`.

    Raises:
        ModelFileError: none of the heads has these parameters, or the parameters of a head have another form.
    """
    main = next((name for name, own in heads.items() if own is params), None)
    if main is None:
        raise ModelFileError(
            f"Wanted the parameters of one of the heads {sorted(heads)} to be the ones that are saved (the same "
            "object): they are what `load` gives when no head is named."
        )
    tree, known = flatten_params(params)
    others, arrays = {}, {}
    for name, own in heads.items():
        form, tensors = flatten_params(own)
        if not isinstance(name, str) or not name or form != tree:
            raise ModelFileError(f"The parameters of the head {name!r} have another form than those of {main!r}.")
        changed = {k: t for k, t in tensors.items() if not _same(t, known[k])}
        if name != main:
            others[name] = {k: f"{_PREFIX}/{name}/{k}" for k in changed}
            arrays |= {f"{_PREFIX}/{name}/{k}": t for k, t in changed.items()}
    return {"main": main, "others": others}, arrays


def names_of_heads(encoded: Mapping[str, Any] | None) -> list[str]:
    """The heads of a file, the one that is loaded without being named first; none in most files."""
    return [] if encoded is None else [encoded["main"], *sorted(encoded["others"])]


def tensors_of_head(
    encoded: Mapping[str, Any] | None, tensors: Mapping[str, np.ndarray], head: str | None
) -> Mapping[str, np.ndarray]:
    """Arrays by name with those of one head in place of the main one's.

    Raises:
        ModelFileError: there is no such head.
    """
    names = names_of_heads(encoded)
    if head is None or (encoded is not None and head == encoded["main"]):
        return tensors
    if encoded is None or head not in names:
        there = f"the heads {', '.join(names)}" if names else "one model, and no heads"
        raise ModelFileError(f"There is no head {head!r}: the file holds {there}.")
    return {**tensors, **{k: tensors[name] for k, name in encoded["others"][head].items()}}


def is_of_head(name: str) -> bool:
    """Whether an array of a file belongs to a head that is not the main one."""
    return name.startswith(f"{_PREFIX}/")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
