"""The benchmark tables of README.md and docs/benchmarks.md, from the files in benchmarks/results/ only.

python benchmarks/make_tables.py            # writes them
python benchmarks/make_tables.py --check    # exit code 1 when one of the pages holds something else
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

from ladder_tables import ladder, methane
from longrange_tables import longrange
from molecule_tables import molecules
from network_tables import hiphop_parts, networks, orbit_networks, training
from package_tables import coverage, install, mutation
from result_tables import (
    ace_speed,
    ace_speed_briefly,
    bpa,
    gap,
    lammps,
    models,
    models_briefly,
    neighbors,
    orbit_models,
    orbits,
    pruning,
    rmd17,
    sgdml,
    sgdml_large,
    sgdml_orbits,
    sgdml_rmd17,
    uncertainty,
)
from simulation_tables import md, soak

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- benchmarks: begin (written by benchmarks/make_tables.py) -->", "<!-- benchmarks: end -->"


TABLES: dict[str, Callable[[dict], str]] = {
    "rmd17": rmd17,
    "ladder": ladder,
    "3bpa": bpa,
    "ace_speed": ace_speed_briefly,
    "neighbors": neighbors,
    "pruning": pruning,
    "orbit_models": orbit_models,
    "sgdml": sgdml,
    "models": models_briefly,
}
MORE_TABLES: dict[str, Callable[[dict], str]] = {
    "ace_speed": ace_speed,
    "models": models,
    "orbits": orbits,
    "gap": gap,
    "longrange": longrange,
    "uncertainty": uncertainty,
    "lammps": lammps,
    "md": md,
    "soak": soak,
    "sgdml_large": sgdml_large,
    "sgdml_rmd17": sgdml_rmd17,
    "sgdml_orbits": sgdml_orbits,
    "methane": methane,
    "molecules": molecules,
    "networks": networks,
    "orbit_networks": orbit_networks,
    "training": training,
    "hiphop_parts": hiphop_parts,
    "install": install,
    "coverage": coverage,
    "mutation": mutation,
}
PAGES = {"README.md": TABLES, "docs/benchmarks.md": MORE_TABLES}


def render(results: pathlib.Path = RESULTS, tables: dict[str, Callable[[dict], str]] = TABLES) -> str:
    """All tables whose results exist, as Markdown."""
    found = {name: results / f"{name}.json" for name in tables}
    parts = [tables[name](json.loads(path.read_text())) for name, path in found.items() if path.exists()]
    return "\n\n".join(parts) or "No results yet."


def insert(page: str, tables: str) -> str:
    """A page with the tables between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"The page must hold the lines\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when a page is out of date")
    options = parser.parse_args()
    for name, tables in PAGES.items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        new = insert(old, render(tables=tables))
        if options.check and old != new:
            sys.exit(f"{name} is out of date: run python benchmarks/make_tables.py")
        path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
