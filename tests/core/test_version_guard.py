"""The start-up guard names known-bad releases once, and the installed release does not have the bug it is about."""

import pathlib
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.version_guard import (
    KNOWN_BUGS,
    KnownBugWarning,
    installed_versions,
    known_bad,
    warn_about_known_bugs,
)

GOOD = {"jax": "0.10.1", "jaxlib": "0.10.1"}


@pytest.mark.parametrize("bug", KNOWN_BUGS, ids=lambda b: f"{b.package}-{b.version}")
def test_each_bad_version_is_named_with_its_bug_and_cure_in_a_single_warning(bug):
    with pytest.warns(KnownBugWarning) as caught:
        warn_about_known_bugs(GOOD | {bug.package: bug.version})
    (message,) = [str(w.message) for w in caught]
    assert f"{bug.package} {bug.version}" in message
    assert bug.bug in message
    assert "pip install" in message


def test_two_bad_packages_are_still_one_warning():
    with pytest.warns(KnownBugWarning) as caught:
        warn_about_known_bugs({"jax": "0.11.1", "jaxlib": "0.11.0"})
    assert len(caught) == 1
    assert "0.11.1" in str(caught[0].message) and "0.11.0" in str(caught[0].message)


def test_the_numbers_bug_is_named_by_its_report():
    (bug,) = known_bad({"jaxlib": "0.10.2+local"})
    assert "jax-ml/jax#39103" in bug.bug


@pytest.mark.parametrize("versions", [GOOD, {"jax": "0.10.2", "jaxlib": "0.10.1"}, {"jaxlib": "0.10.20"}, {}])
def test_good_versions_are_silent(versions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_known_bugs(versions)


def test_the_installed_versions_are_seen_and_good():
    assert installed_versions()["jax"] == jax.__version__
    assert known_bad() == ()


def fake_release(folder: pathlib.Path, package: str, version: str) -> None:
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_importing_jorbit_on_a_bad_release_warns_exactly_once(tmp_path):
    fake_release(tmp_path, "jaxlib", "0.10.2")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import jorbit, jorbit.core.units, jorbit.core.errors\n"
        "    import jorbit\n"
        "print([w.category.__name__ for w in caught])\n"
        "print('jax' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['KnownBugWarning']", "False"], done.stderr


@pytest.mark.parametrize(
    ("dtype", "n_rows"), [("float64", 16_385), ("float64", 40_000), ("float32", 32_769), ("float32", 40_000)]
)
def test_a_vmapped_matrix_vector_product_and_its_sum_are_right_beyond_two_to_the_fourteen_rows(dtype, n_rows, x64):
    """The reproducer of jax-ml/jax#39103: jaxlib 0.10.2 returns stale rows on CPU from these sizes on."""
    matrix = np.eye(3, dtype=dtype)
    rows = np.stack([np.arange(n_rows), np.arange(n_rows) % 7, np.zeros(n_rows)], axis=1).astype(dtype)
    squared = jax.jit(lambda x: jax.vmap(lambda row: jnp.sum((jnp.asarray(matrix) @ row) ** 2))(x))
    wanted = (rows.astype(np.float64) ** 2).sum(axis=1)
    # The wrong rows are off by 2e-3 relative; rounding of three products and two sums is below 4 eps.
    np.testing.assert_allclose(np.asarray(squared(rows)), wanted, rtol=4 * np.finfo(dtype).eps)
