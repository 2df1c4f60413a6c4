"""Frozen, keyword-only dataclasses that JAX treats as trees of arrays."""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")
_STATIC = "jorbit_static"


def static(**options: Any) -> Any:
    """Mark a dataclass field as static: part of the tree's structure (hashed), not a leaf."""
    return dataclasses.field(metadata={_STATIC: True}, **options)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(static, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass and register it with JAX.

    Shapes are checked when *we* construct an instance (the test run hooks jaxtyping into ``__init__``), not
    when JAX rebuilds one: transformations put batched arrays, None or placeholders into the leaves.

    Args:
        cls: class with annotated fields; those made with `static()` go into the tree structure.

    Returns:
        The registered class, with a `replace(**changes)` method.

    Example:
        >>> @pytree
        ... class Point:
        ...     x: jax.Array
        ...     name: str = static()
        >>> jax.tree.map(lambda a: 2 * a, Point(x=jax.numpy.ones(()), name="p")).x.item()
        2.0
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    leaves = tuple(f.name for f in fields if not f.metadata.get(_STATIC))
    statics = tuple(f.name for f in fields if f.metadata.get(_STATIC))

    def flatten(obj: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(obj, n) for n in leaves), tuple(getattr(obj, n) for n in statics)

    def flatten_with_keys(obj: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        keys = tuple((jax.tree_util.GetAttrKey(n), getattr(obj, n)) for n in leaves)
        return keys, tuple(getattr(obj, n) for n in statics)

    def unflatten(static_values: tuple[Any, ...], leaf_values: Iterable[Any]) -> Any:
        obj = object.__new__(cls)
        for name, value in zip(leaves, leaf_values, strict=True):
            object.__setattr__(obj, name, value)
        for name, value in zip(statics, static_values, strict=True):
            object.__setattr__(obj, name, value)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    cls.replace = dataclasses.replace  # type: ignore[attr-defined]
    return cls
