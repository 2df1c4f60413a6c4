"""Tables of the package itself, in Markdown: its installation, and how closely its tests look."""

from result_tables import conditions, days_of_rows, number, table


def install(data: dict) -> str:
    """One row for each Python."""
    rows = []
    for row in data["rows"]:
        if "failed" in row:
            rows.append([row["python"], row["failed"], "", "", "", ""])
            continue
        works = "works" if row["quickstart_exit_code"] == 0 and row["quickstart_files"] else "fails"
        sizes = number(row["wheel_mb"]), number(row["jorbit_mb"]), number(row["site_packages_mb"])
        rows.append([row["python"], *sizes, number(row["import_s"], 2), works])
    headers = ["", "wheel, MB", "installed, MB", "with all it needs, MB", "`import jorbit`, s", "quickstart"]
    return (
        f"**Installation**: {data['what']}.\n\n{table(headers, rows)}\n\n"
        f"The needs are mostly jaxlib, and what jax-md asks for. Measured {days_of_rows(data['rows'])}."
    )


def coverage(data: dict) -> str:
    """One row for each room."""
    rows = [
        [
            f"jorbit/{row['module']}",
            str(row["n_modules"]),
            f"{100 * row['covered_lines'] / row['num_statements']:.1f}",
            f"{100 * row['covered_branches'] / row['num_branches']:.1f}",
        ]
        for row in data["rows"]
        if row["module"].endswith("/")
    ]
    headers = ["", "modules", "statements, %", "branches, %"]
    return (
        f"**Coverage**: {data['what']}.\n\n{table(headers, rows)}\n\nMeasured {conditions(data['environment'])}. Lines "
        "that are left out: benchmarks/results/coverage.json."
    )


def mutation(data: dict) -> str:
    """Mutants by module, and those that lived, with what was found about them."""
    rows, survivors = [], []
    for module in dict.fromkeys(row["module"] for row in data["rows"]):
        members = [row for row in data["rows"] if row["module"] == module and row["outcome"] != "not applied"]
        alive = [row for row in members if row["outcome"] == "survived"]
        rows.append([module, str(members[0]["n_mutants_of_module"]), str(len(members)), str(len(alive))])
        survivors += alive
    headers = ["module", "mutants there are", "tested", "not seen by a test"]
    text = f"**Mutants**: {data['what']}; a sample, drawn at random.\n\n{table(headers, rows)}"
    for row in survivors:
        changes = " → ".join(f"`{line[1:].strip()}`" for line in row["change"])
        text += f"\n\n* {row['module']}: {changes}" + (f" — {row['verdict']}" if "verdict" in row else "")
    return text
