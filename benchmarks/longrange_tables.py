"""Tables of models with long-range terms and without, beside the published rows of the complete sets."""

from result_tables import conditions, number, table

# RMSE, energy meV/atom, force meV/Å, charge me: Unke et al., Nat. Commun. 12, 7273 (2021), Table 1; the nG-BPNN rows in
# it are of Ko et al., Nat. Commun. 12, 398 (2021). Trained on the complete sets, of 5000 to 11,000 frames.
PUBLISHED = {
    "carbon chains": {
        "2G-BPNN": (1.619, 129.5, None),
        "3G-BPNN": (2.045, 231.0, 20.08),
        "4G-BPNN": (1.194, 78.00, 6.577),
        "SpookyNet": (0.364, 5.802, 0.117),
    },
    "Ag3 ions": {
        "2G-BPNN": (352.0, 1803, None),
        "3G-BPNN": (320.2, 1913, 26.48),
        "4G-BPNN": (1.323, 31.69, 9.976),
        "SpookyNet": (0.220, 26.64, 0.459),
    },
    "Au2-MgO": {
        "2G-BPNN": (2.287, 153.1, None),
        "4G-BPNN": (0.219, 66.0, 5.698),
        "SpookyNet": (0.107, 5.337, 1.013),
    },
}


def longrange(data: dict) -> str:
    """Errors of short-range models alone and with long-range terms, and what the terms cost."""
    rows, costs, exponents = [], {}, []
    for row in data["rows"]:
        if "test" in row:
            test = row["test"]
            charges = row.get("charge_rmse")
            errors = [1e3 * test[kind] for kind in ("energy_mae_per_atom", "energy_rmse_per_atom")]
            errors += [1e3 * test[kind] for kind in ("force_mae", "force_rmse")]
            what, _, model = row["name"].partition("/")
            sizes = [str(row["train_frames"]), str(row["test_frames"])]
            rows.append([what, model, *sizes, *map(number, errors), number(charges and 1e3 * charges)])
        elif "exponent" in row:
            exponents.append(f"{row['name'].split('/')[0].removeprefix('cost ')} N^{row['exponent']:.2f}")
        elif row["name"].startswith("cost "):
            costs.setdefault(row["n_atoms"], {})[row["name"].split("/")[0].removeprefix("cost ")] = row["processor_s"]
    measured = {row[0] for row in rows}
    for what, models in PUBLISHED.items():
        for model, (energy, forces, charges) in models.items():
            if what in measured:
                sizes = ["complete set", ""]
                rows.append(
                    [what, f"published: {model}", *sizes, "", number(energy), "", number(forces), number(charges)]
                )
    headers = ["", "model", "to train", "to test", "energy MAE, meV/atom", "energy RMSE", "force MAE, meV/Å"]
    headers += ["force RMSE", "charge RMSE, me"]
    times = [
        [f"{n:,}", *(number(1e3 * costs[n][way]) if way in costs[n] else "-" for way in ("sum", "mesh"))]
        for n in sorted(costs)
    ]
    slopes = f"Slopes over the four largest: {', '.join(exponents)}.\n\n" if exponents else ""
    return (
        "**Long range**: short-range models alone and with long-range terms. Salt: NaCl in water; Ag3: ions of both "
        "signs; dimers of charged (C), polar (P) and apolar (A) molecules, three frames "
        "farther apart than any that was learned; water: RPBE-D3; carbon chains: C10H2 and C10H3+; Au2-MgO with and "
        "without aluminium below. Published rows are of the complete sets, for orientation (Unke et al., Nat. Commun. "
        f"12, 7273 (2021), Table 1).\n\n{table(headers, sorted(rows))}\n\n"
        "Binding curves of the dimers: [longrange_dimers.png](../benchmarks/results/longrange_dimers.png).\n\n"
        "Energy and forces of rock salt by an Ewald sum and by a particle mesh, "
        f"accuracy 1e-4, processor time of one thread:\n\n{table(['atoms', 'sum, ms', 'mesh, ms'], times)}\n\n"
        f"{slopes}Measured {conditions(data['rows'][-1]['environment'])}."
    )
