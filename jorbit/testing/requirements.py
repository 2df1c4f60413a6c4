"""Raising when a component breaks its contract, and comparing numbers with a reason in the message."""

from typing import Any

import numpy as np


class ContractError(AssertionError):
    """A component does not do what its seam promises."""


def require(condition: Any, message: str) -> None:
    """Raise a ContractError with `message` unless the condition holds."""
    if not bool(condition):
        raise ContractError(message)


def require_close(got: Any, wanted: Any, tolerance: float, message: str, *, scale: float | None = None) -> None:
    """Raise unless |got - wanted| <= tolerance * scale everywhere.

    Args:
        got, wanted: arrays of one shape.
        tolerance: relative to `scale`.
        message: what should have been equal.
        scale: what counts as large; the largest |wanted| when not given, and at least 1e-3 so that zeros compare.
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    require(got.shape == wanted.shape, f"{message}: shapes {got.shape} and {wanted.shape} differ.")
    if scale is None:
        scale = float(np.max(np.abs(wanted), initial=0.0))
    limit = tolerance * max(scale, 1e-3)
    worst = float(np.max(np.abs(got - wanted), initial=0.0))
    require(worst <= limit, f"{message}: differ by {worst:.3g}, allowed {limit:.3g}.")  # NaN fails, too


def require_finite(values: Any, message: str) -> None:
    """Raise if any number is NaN or infinite."""
    values = np.asarray(values, np.float64)
    require(np.isfinite(values).all(), f"{message}: {np.sum(~np.isfinite(values))} of {values.size} are not finite.")
