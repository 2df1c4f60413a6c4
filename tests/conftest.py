"""Fixtures and rules of the test run: strict promotion, reproducible random tests, slow tests last."""

import os
import tempfile

# Before numpy and tblite are loaded: several threads add in an order that depends on the load of the machine, and
# tests that compare two runs of tblite bit by bit would fail now and then. Two test processes use two cores anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What one process of this run has compiled, the others (commands, notebooks, runs that are killed and resumed) read.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/jorbit-tests-{os.getpid()}")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Reading what it compiled, XLA (jaxlib 0.10) takes two of its own tuning flags for features the processor lacks.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import shutil
import time

import hypothesis
import jax
import pytest

try:
    import resource
except ImportError:  # Windows
    resource = None

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


@pytest.fixture(scope="module", autouse=True)
def compiled_functions_of_one_file_at_a_time():
    """Compiled functions are hardly ever shared between files, and a thousand tests fill several GiB with them."""
    yield
    if resource is None or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 2 * 2**20:  # KiB on Linux
        jax.clear_caches()


@pytest.fixture(autouse=True)
def restore_float_type():
    """Commands switch their process to float64, in fixtures of whole files, too; every test starts from the default."""
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def x64():
    """float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--slow`: the long tests as well."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow (`-m slow`: only those)")


def wants_slow(config: pytest.Config) -> bool:
    """Slow tests are asked for by an option, a marker, or the name of a test."""
    return config.option.slow or "slow" in config.option.markexpr or any("::" in arg for arg in config.args)


# Nearly all of the time of ordinary tests is XLA compiling functions that run once or twice. Without its newer code for
# fusions, and with LLVM optimizing nothing, that takes half as long.
QUICK = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 --xla_backend_optimization_level=0"
)


def pytest_configure(config: pytest.Config) -> None:
    """Ordinary tests compile quickly; slow ones, and the commands and scripts that tests start, compile as users do.

    JORBIT_TEST_COMPILER=full makes all tests do so, and quick none.
    """
    if os.environ.get("JORBIT_TEST_COMPILER", "full" if wants_slow(config) else "quick") == "full":
        return
    given = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{given or ''} {QUICK}"
    jax.block_until_ready(jax.jit(lambda: 0)())  # XLA reads the variable once, when it compiles for the first time
    if given is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = given


def pytest_unconfigure() -> None:
    """The first process of a run named the directory of compiled functions after itself, and removes it."""
    own = os.environ["JAX_COMPILATION_CACHE_DIR"]
    if own.endswith(f"jorbit-tests-{os.getpid()}"):
        shutil.rmtree(own, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run on demand, after the others; those of one file in one process: they share compiled functions."""
    if not wants_slow(config):
        slow_ones = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow_ones)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            slow = " (slow)" if item.get_closest_marker("slow") else ""
            item.add_marker(pytest.mark.xdist_group(f"{item.path}{slow}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out slow tests that would start after JORBIT_TEST_MINUTES (unset: no limit)."""
    minutes = os.environ.get("JORBIT_TEST_MINUTES")
    if minutes and item.get_closest_marker("slow") and time.monotonic() - START > 60 * float(minutes):
        pytest.skip(f"slow, and the {minutes} minutes of JORBIT_TEST_MINUTES are over")
