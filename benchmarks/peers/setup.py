"""Virtual environments of the packages jorbit is measured against, one each, with pinned versions.

    python benchmarks/peers/setup.py --into FOLDER [name ...]

FOLDER/status.json says for each what was installed, or why it was not: a peer that does not install is a row that says
so, not a benchmark that stops. `jorbit bench run NAME --peers FOLDER` uses them.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tomllib
import venv

PEERS = pathlib.Path(__file__).with_name("peers.toml")


def install(name: str, wanted: dict, folder: pathlib.Path) -> dict:
    """Make the environment of one peer; {"python": ..., "versions": ...} or {"failed": why}."""
    home = folder / name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    for packages in filter(None, (wanted.get("first"), wanted["packages"])):
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return {"failed": lines[-1] if lines else f"pip ended with {done.returncode}"}
    done = subprocess.run([str(python), "-c", f"import {wanted['imports']}"], capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    versions = {p["name"]: p["version"] for p in json.loads(listed.stdout)}
    named = [p.partition("==")[0] for p in (*wanted.get("first", ()), *wanted["packages"])]
    return {"python": str(python), "versions": {n: versions.get(n, "unknown") for n in named}}


def main() -> int:
    wanted = tomllib.loads(PEERS.read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*wanted, []], default=list(wanted))
    parser.add_argument("--into", type=pathlib.Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    folder = options.into.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    status_file = folder / "status.json"
    status = json.loads(status_file.read_text()) if status_file.exists() else {}
    for name in options.names:
        print(f"{name}: installing {' '.join(wanted[name]['packages'])}", flush=True)
        status[name] = install(name, wanted[name], folder)
        status_file.write_text(json.dumps(status, indent=1) + "\n")
        print(f"{name}: {status[name].get('failed', 'installed')}", flush=True)
    return 0 if all("python" in status[n] for n in options.names) else 1


if __name__ == "__main__":
    sys.exit(main())
