"""Counting compilations: every distinct capacity costs one, and nobody should pay for more."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import jax

_COUNTS: collections.Counter[str] = collections.Counter()


def counted_jit(function: Callable[..., Any], name: str, **options: Any) -> Callable[..., Any]:
    """`jax.jit(function)`, counting under `name` how often it was traced (and so compiled).

    Args:
        function: pure function.
        name: what the counter is called in logs.
        options: passed to `jax.jit`.
    """

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        _COUNTS[name] += 1
        return function(*args, **kwargs)

    return jax.jit(traced, **options)


def compilations() -> dict[str, int]:
    """How often each counted function was compiled in this process."""
    return dict(_COUNTS)
