"""What a result says about itself: the data that were read, by checksum; threads, float type, changes, arguments."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Opens one file of data, one that is none, and writes one; then says where it is, and writes a file of results.
SCRIPT = """
import common, json, os, pathlib, sys
home = pathlib.Path(os.environ["JORBIT_DATA"])
with open(home / "set" / "frames.xyz") as file:
    file.read()
with open(home / "notes.txt") as file:
    file.read()
with open(home / "written.xyz", "w") as file:
    file.write("new")
row = {"key": "a"} | common.measure(lambda: sum(range(1000)), seconds=0.0)
common.write("one", "environment found", [row])
common.write("two", "environment given", [{"key": "a", "environment": common.environment(seeds=(3, 4))}])
print(json.dumps(common.environment()))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[dict, dict, dict]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "set").mkdir()
    (folder / "set" / "frames.xyz").write_text("1\n\nH 0 0 0\n")
    (folder / "notes.txt").write_text("none")
    about = {
        "JORBIT_DATA": str(folder),
        "JORBIT_BENCH_RESULTS": str(folder / "results"),
        "PYTHONPATH": f"{ROOT / 'benchmarks'}{os.pathsep}{ROOT}",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_ENABLE_X64": "1",
    }
    words = [sys.executable, "-c", SCRIPT, "--output", f"{folder}/results/one.json", "--seed", "5"]
    done = subprocess.run(words, env=os.environ | about, capture_output=True, text=True, check=True)
    results = [json.loads((folder / "results" / f"{name}.json").read_text()) for name in ("one", "two")]
    assert str(folder) not in json.dumps(results) and str(folder) not in done.stdout, "paths of this machine"
    return json.loads(done.stdout.splitlines()[-1]), *results


def test_data_that_were_read_are_known_by_their_checksum_and_nothing_else_is(told):
    wanted = hashlib.sha256(b"1\n\nH 0 0 0\n").hexdigest()
    assert told[0]["data_sha256"] == {"JORBIT_DATA/set/frames.xyz": wanted}


def test_threads_float_type_versions_and_arguments_are_told(told):
    environment = told[0]
    assert (environment["threads"], environment["default_dtype"]) == (1, "float64")
    assert environment["arguments"] == ["--output", "one.json", "--seed", "5"]
    assert {"python", "jax", "jaxlib", "flax", "numpy"} <= set(environment["versions"])
    assert environment["device"].startswith("cpu, ") and len(environment["load_average"]) == 3
    assert isinstance(environment["uncommitted_changes"], bool | None) and environment["commit"]


def test_every_file_has_an_environment_with_what_is_known_of_seeds(told):
    _, found, given = told
    assert found["environment"]["seeds"] == "fixed in the script" and "environment" not in given
    assert given["rows"][0]["environment"]["seeds"] == [3, 4]


def test_the_first_call_stands_apart_and_medians_have_their_spread(told):
    row = told[1]["rows"][0]
    assert row["calls"] == 3 and row["first_call_s"] >= 0.0
    assert 0.0 < row["wall_min_s"] <= row["wall_s"] <= row["wall_max_s"]
