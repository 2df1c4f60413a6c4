"""The benchmark tables of README.md, from the files in benchmarks/results/ and from nothing else.

python benchmarks/make_tables.py            # writes them into README.md
python benchmarks/make_tables.py --check    # exit code 1 when README.md holds something else
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- benchmarks: begin (written by benchmarks/make_tables.py) -->", "<!-- benchmarks: end -->"


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, without an exponent; a dash for None."""
    if value is None:
        return "-"
    whole = len(str(int(abs(value))))
    return f"{value:.0f}" if whole >= digits else f"{value:.{digits}g}"


def conditions(environment: dict) -> str:
    """Where and when something was measured."""
    versions = f"jax {environment.get('versions', {}).get('jax', 'unknown')}"
    versions += f", commit {environment['commit']}" if "commit" in environment else ""
    load = environment.get("load_average", environment.get("load_average_before"))
    busy = f", load average {', '.join(f'{x:g}' for x in load)}" if load else ""
    cores = environment.get("cores", environment.get("threads"))
    return f"{environment.get('date', '')[:10]}, {versions}, {cores} cores{busy}"


def rmd17(data: dict) -> str:
    rows = []
    for row in data["rows"]:
        energy, force = row["published"]["linear ACE"]
        rows.append(
            [
                row["molecule"],
                number(row["force_mae_mev_per_angstrom"]),
                number(force),
                number(row["energy_mae_mev"]),
                number(energy),
                number(row["n_parameters"], 1),
                number(row["fit_seconds"]["wall_s"], 2),
            ]
        )
    headers = ["molecule", "force MAE, meV/Å", "published", "energy MAE, meV", "published", "parameters", "fit, s"]
    return (
        f"**rMD17**: {data['what']}. Published: linear ACE in Batatia et al., arXiv:2206.07697, Table 1.\n\n"
        f"{table(headers, rows)}\n\nMeasured {conditions(data['rows'][-1]['environment'])}."
    )


def bpa(data: dict) -> str:
    blocks = []
    for row in data["rows"]:
        peers = list(dict.fromkeys(name for test in row["tests"].values() for name in test["published"]))
        rows = []
        for column, test in row["tests"].items():
            own = f"{number(test['energy_rmse_mev'])} / {number(test['force_rmse_mev_per_angstrom'])}"
            published = [" / ".join(map(number, test["published"].get(peer, (None, None)))) for peer in peers]
            rows.append([column, test["test_frames"], own, *published])
        headers = ["", "frames tested here", "jorbit linear ACE", *peers]
        blocks.append(
            f"**{row['set']}**: {data['what']}, energy (meV) / force (meV/Å). Published numbers are on the published "
            f"test files.\n\n{table(headers, rows)}\n\n"
            f"{row['n_parameters']:,} parameters, fit {number(row['fit_seconds']['wall_s'], 2)} s; measured "
            f"{conditions(row['environment'])}."
        )
    return "\n\n".join(blocks)


def ace_speed(data: dict) -> str:
    rows = []
    for row in data["rows"]:
        if "failed" in row:
            continue
        rows.append(
            [
                f"{row['tool']}, {row['dtype']}",
                str(row["n_functions"]),
                str(row["n_atoms"]),
                number(row.get("us_per_atom model")),
                number(row.get("us_per_atom with list")),
            ]
        )
    headers = ["", "functions", "atoms", "µs/atom, given neighbours", "µs/atom, with neighbour search"]
    threads = ", ".join(sorted({str(row["threads"]) for row in data["rows"]}))
    return (
        f"**Speed of ACE**: {data['what']}, {threads} thread(s), compilation apart.\n\n{table(headers, rows)}\n\n"
        f"Measured {conditions(data['environment'])}."
    )


def neighbors(data: dict) -> str:
    sizes = sorted({row["n_atoms"] for row in data["rows"]})
    tools = list(dict.fromkeys(row["tool"] for row in data["rows"]))
    times = {(row["tool"], row["n_atoms"]): row.get("us_per_atom") for row in data["rows"]}
    rows = [[tool, *[number(times.get((tool, n))) for n in sizes]] for tool in tools]
    headers = ["µs/atom", *[f"{n:,} atoms" for n in sizes]]
    return f"**Neighbour search**: {data['what']}.\n\n{table(headers, rows)}\n\nMeasured {conditions(data)}."


TABLES: dict[str, Callable[[dict], str]] = {
    "rmd17": rmd17,
    "3bpa": bpa,
    "ace_speed": ace_speed,
    "neighbors": neighbors,
}


def render(results: pathlib.Path = RESULTS) -> str:
    """All tables whose results exist, as Markdown."""
    found = {name: results / f"{name}.json" for name in TABLES}
    parts = [TABLES[name](json.loads(path.read_text())) for name, path in found.items() if path.exists()]
    return "\n\n".join(parts) or "No results yet."


def insert(readme: str, tables: str) -> str:
    """The README with the tables between its markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"README.md must hold the lines\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> None:
    """Write or check the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 when the README is out of date"
    )
    options = parser.parse_args()
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = insert(old, render())
    if options.check:
        sys.exit("README.md is out of date: run python benchmarks/make_tables.py" if old != new else 0)
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
