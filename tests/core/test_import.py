"""`import jorbit` is cheap: nothing heavy is loaded before it is used."""

import subprocess
import sys
import time

import pytest

HEAVY = ("jax", "jax_md", "flax", "ase", "matplotlib", "pydantic", "typer", "rich", "yaml", "vesin")


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_jorbit_loads_none_of_the_heavy_packages():
    assert loaded_by("import jorbit") == set()


def test_potentials_load_neither_simulation_nor_networks_nor_files():
    heavy = loaded_by("import jorbit; jorbit.predict; jorbit.Potential; jorbit.load; jorbit.Structure")
    assert heavy - {"ase"} == {"jax", "vesin"}  # vesin imports ase by itself where it is installed


def test_every_public_name_exists():
    import jorbit

    for name in jorbit.__all__:
        assert getattr(jorbit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = jorbit.fitt


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def test_import_jorbit_takes_less_than_one_and_a_half_times_import_jax():
    seconds("import jax, jorbit")  # compile bytecode, fill the file cache
    runs = [(seconds("import jax"), seconds("import jax, jorbit, jorbit.core.graph")) for _ in range(5)]
    jax_alone, with_jorbit = (min(times) for times in zip(*runs, strict=True))
    assert with_jorbit < 1.5 * jax_alone
