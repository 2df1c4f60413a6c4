"""Table of networks on QM7, QM9 and COMP6, in Markdown."""

from result_tables import conditions, number, table

TITLES = {
    "qm7": "QM7, atomization energies, PBE0 (7101 molecules)",
    "qm9": "a sample of QM9, formation energies, B3LYP (985 molecules)",
    "s66x8": "S66x8 of COMP6, ωB97X/6-31G(d) (66 dimers at 8 separations)",
    "qm9-full": "QM9",
    "comp6-full": "COMP6",
}
ERRORS = {"energy": "energy_mae_kcal_mol", "relative": "relative_mae_kcal_mol"}


def molecules(data: dict) -> str:
    """One table for each set: own rows, then published ones with what they were measured on."""
    blocks = []
    for name in dict.fromkeys(row["set"] for row in data["rows"]):
        members = [row for row in data["rows"] if row["set"] == name]
        forces = any("relative_mae_kcal_mol" in row for row in members)
        rows = []
        for row in members:
            about = f"fold {row['fold']}" + (f", seed {row['seed']}" if row["seed"] else "")
            errors = [number(row["energy_mae_kcal_mol"]), number(row["energy_mae_mev"])]
            if forces:
                errors += [number(row["relative_mae_kcal_mol"]), number(row["force_mae_kcal_mol_per_angstrom"])]
            training = f"{row['n_train']:,}", f"{row['budget_processor_minutes']:g}", f"{row['n_parameters']:,}"
            rows.append([f"{row['model']} ({about})", *errors, *training])
        for model, errors, where in members[-1]["published_kcal_mol"]:
            found = [number(errors.get("energy")), "-"]
            if forces:
                found += [number(errors.get("relative")), number(errors.get("force"))]
            rows.append([f"*published: {model}* ({where})", *found, "-", "-", "-"])
        headers = ["model", "energy MAE, kcal/mol", "meV"]
        headers += ["relative energy, kcal/mol", "force, kcal/mol/Å"] if forces else []
        headers += ["training frames", "processor minutes", "parameters"]
        blocks.append(
            f"**{TITLES.get(name, name)}**: {data['what']}. Constants of the elements alone: "
            f"{number(members[-1]['elements_only_mae_kcal_mol'])} kcal/mol.\n\n{table(headers, rows)}\n\n"
            f"Measured {conditions(members[-1]['environment'])}."
        )
    return "\n\n".join(blocks)
