"""Mutation testing of the physics core: are the tests sharp enough to see a changed sign, index or comparison?

    python benchmarks/mutation.py --cosmic-ray PATH_TO/cosmic-ray --sample 10       # writes results/mutation.json

Mutants are those of cosmic-ray (`pip install cosmic-ray==8.7.0` into an environment of its own), a random sample of
them; each is put into a copy of the last commit and the tests of its part are run until one fails. Rows name the
mutants that no test saw, with their change: equivalent ones (which change nothing that can be seen) are to be told
from missing tests by reading. Mutants that were tested before are not tested again while their module is the same.
Tests that fail without a mutant would seem to see every one: they are run without first, and have to pass.
"""

import argparse
import difflib
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from common import ROOT, environment, load_rows, write

# part -> (modules, tests that have to see their mutants)
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "core": (
        ("core/ops.py", "core/graph.py", "core/blocks.py", "core/species.py", "core/structure.py"),
        (
            "tests/core",
            "tests/graphs/test_batching.py",
            "tests/potential/test_derivatives.py",
            "tests/potential/test_predict.py",
        ),
    ),
    "graphs": (("graphs/batching.py", "graphs/neighbors.py", "graphs/cell_list.py"), ("tests/graphs",)),
    "derivatives": (
        ("potential/derivatives.py",),
        ("tests/potential/test_derivatives.py", "tests/potential/test_predict.py"),
    ),
}
# Unions of types, decorators and texts of errors are not what is meant.
SKIPPED = ("BitOr", "RemoveDecorator", "ExceptionReplacer")
LIMIT = 600  # s for the tests of one mutant


def copied(folder: pathlib.Path) -> pathlib.Path:
    """The last commit as plain files."""
    target = folder / "copy"
    target.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
    return target


def mutants_of(tool: str, module: str, copy: pathlib.Path) -> list[dict]:
    """All mutants that the tool knows of one module."""
    config, session = copy.parent / "config.toml", copy.parent / "session.sqlite"
    config.write_text(
        f'[cosmic-ray]\nmodule-path = "jorbit/{module}"\ntimeout = {LIMIT}.0\nexcluded-modules = []\n'
        'test-command = "true"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    subprocess.run([tool, "init", "--force", str(config), str(session)], cwd=copy, check=True, capture_output=True)
    lines = subprocess.run([tool, "dump", str(session)], cwd=copy, check=True, capture_output=True, text=True).stdout
    session.unlink()
    found = [json.loads(line)[0]["mutations"][0] for line in lines.splitlines() if line.strip()]
    return [m for m in found if not (m.get("operator_args") or any(word in m["operator_name"] for word in SKIPPED))]


def code_of(tests: tuple[str, ...], copy: pathlib.Path) -> int:
    """Exit code of the tests of a copy, 0 if all pass; -1 where they take too long."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    surroundings = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings["JAX_COMPILATION_CACHE_DIR"] = str(copy.parent / "compiled")  # what a mutant does not change
    try:
        return subprocess.run(command, cwd=copy, env=surroundings, capture_output=True, timeout=LIMIT).returncode
    except subprocess.TimeoutExpired:
        return -1


def tested(tool: str, mutant: dict, module: str, tests: tuple[str, ...], copy: pathlib.Path) -> dict:
    """What the mutant changes, and whether a test sees it."""
    path = copy / "jorbit" / module
    before = path.read_text()
    operator, occurrence = mutant["operator_name"], str(mutant["occurrence"])
    words = [tool, "apply", f"jorbit/{module}", operator, occurrence]
    begin = time.process_time() + sum(os.times()[2:4])
    try:
        done = subprocess.run(words, cwd=copy, capture_output=True, text=True)
        after = path.read_text()
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        change = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        if not change:
            return {"outcome": "not applied", "note": done.stderr[-200:]}
        code = code_of(tests, copy)
    finally:
        path.write_text(before)
    outcome = {0: "survived", -1: "killed (time)"}.get(code, "killed")
    cpu = time.process_time() + sum(os.times()[2:4]) - begin
    return {"outcome": outcome, "change": change, "cpu_s": round(cpu, 1)}


def main() -> None:
    """Test a sample; earlier rows stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cosmic-ray", required=True, help="the program, of an environment of its own")
    parser.add_argument("--sample", type=int, default=10, help="mutants of each module")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, start = load_rows("mutation", "key"), environment(seeds=(options.seed,))
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        copy = copied(folder)
        for part in options.parts:
            modules, tests = PARTS[part]
            known = {module: mutants_of(options.cosmic_ray, module, copy) for module in modules}
            draw = random.Random(options.seed)
            chosen = [
                (m, mutant) for m in modules for mutant in draw.sample(known[m], min(options.sample, len(known[m])))
            ]
            checked = False
            for module, mutant in chosen:
                key = f"{module} | {mutant['operator_name']} | {mutant['occurrence']}"
                text = hashlib.sha256((copy / "jorbit" / module).read_bytes()).hexdigest()
                if key in rows and rows[key].get("module_sha256") == text:
                    continue
                if not checked and (code := code_of(tests, copy)):
                    raise SystemExit(f"The tests of {part!r} do not pass without a mutant (exit code {code}): {tests}")
                checked = True
                found = tested(options.cosmic_ray, mutant, module, tests, copy)
                rows[key] = {
                    "key": key,
                    "part": part,
                    "module": module,
                    "module_sha256": text,
                    "n_mutants_of_module": len(known[module]),
                    **found,
                }
                print(found["outcome"], key, *found.get("change", []), sep="\n  ", flush=True)
                write(
                    "mutation",
                    "mutants of the physics core and whether a test sees them",
                    list(rows.values()),
                    environment=start,
                )
    finally:
        shutil.rmtree(folder)
    survived = [row for row in rows.values() if row["outcome"] == "survived"]
    print(f"{len(rows)} mutants tested, {len(survived)} survived; started at commit {start['commit']}")


if __name__ == "__main__":
    main()
