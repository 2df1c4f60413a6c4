"""Fixtures and rules of the test run: strict promotion, reproducible random tests, slow tests last."""

import os
import pathlib
import time

import hypothesis
import jax
import pytest

START = time.monotonic()

# Random tests are reproducible: the same examples every run. JORBIT_HYPOTHESIS=explore looks for new ones.
hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("JORBIT_HYPOTHESIS", "reproducible"))

# Rooms whose dependencies (jax-md) promote on purpose, or that only compose the others.
PROMOTION_ALLOWED = ("simulate", "cli", "report")


@pytest.fixture(autouse=True)
def strict_promotion(request: pytest.FixtureRequest):
    """No silent promotion of dtypes or ranks in jorbit's own arithmetic."""
    room = pathlib.Path(request.path).relative_to(pathlib.Path(__file__).parent).parts[0]
    if room in PROMOTION_ALLOWED or room.endswith(".py"):
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64():
    """float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run after all others, so that a failure shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out slow tests that would start after JORBIT_TEST_MINUTES (unset: no limit)."""
    minutes = os.environ.get("JORBIT_TEST_MINUTES")
    if minutes and item.get_closest_marker("slow") and time.monotonic() - START > 60 * float(minutes):
        pytest.skip(f"slow, and the {minutes} minutes of JORBIT_TEST_MINUTES are over")
