"""Whether networks with orbits reach the error of larger networks with elements: computed from the rows, not said."""

import math
import statistics
from typing import Any

TENTH = 0.1  # the claim: a model with orbits and at most so many of the parameters is as good
ERROR = "force_rmse_mev_per_angstrom"
GROUP = ("system", "network", "n_train", "budget_processor_minutes")


def means(rows: list[dict]) -> list[dict]:
    """Mean and spread over the seeds of each size and kind of labels.

    Args:
        rows: one for each training, with GROUP, "size", "labels", "n_parameters" and the error.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((*(row[name] for name in GROUP), row["labels"], row["size"]), []).append(row)
    found = []
    for members in groups.values():
        errors = [row[ERROR] for row in members]
        found.append(
            {name: members[0][name] for name in (*GROUP, "labels", "size", "n_parameters")}
            | {
                "n_seeds": len(errors),
                "mean": statistics.mean(errors),
                "standard_deviation": statistics.stdev(errors) if len(errors) > 1 else None,
            }
        )
    return found


def not_worse(small: dict, large: dict) -> bool | None:
    """Whether a mean is at most that of another model plus the noise of seeds; None where noise is not known.

    The noise is the standard deviation of the difference of two trainings: the root of the sum of both variances.
    """
    if small["standard_deviation"] is None or large["standard_deviation"] is None:
        return None
    return small["mean"] <= large["mean"] + math.hypot(small["standard_deviation"], large["standard_deviation"])


def lower(one: dict, other: dict) -> bool | None:
    """Whether a mean is below that of another model by more than the noise of seeds; None where that is not known."""
    if one["standard_deviation"] is None or other["standard_deviation"] is None:
        return None
    return one["mean"] + math.hypot(one["standard_deviation"], other["standard_deviation"]) < other["mean"]


def verdicts(rows: list[dict]) -> list[dict[str, Any]]:
    """One for each system, network, number of frames and budget.

    The measure is the best model with elements, by its mean error. `holds`: a model with orbits and at most a tenth of
    its parameters is not worse within the noise of seeds; None where that cannot be told, and `why`. Beside it the same
    for models with elements (`elements_hold`): where those hold as well, it is not the orbits that do it. `same_size`:
    both kinds of labels at each size, and whether orbits are better there by more than the noise.

    Args:
        rows: one for each training.
    """
    groups: dict[tuple, list[dict]] = {}
    for model in means(rows):
        groups.setdefault(tuple(model[name] for name in GROUP), []).append(model)
    found = []
    for key, models in groups.items():
        elements = [m for m in models if m["labels"] == "elements"]
        verdict: dict[str, Any] = dict(zip(GROUP, key, strict=True))
        others = [m for m in models if m["labels"] != "elements"]
        pairs = [
            {"size": e["size"], "elements": e, "orbits": o, "lower": lower(o, e)}
            for e in elements
            for o in others
            if o["size"] == e["size"]
        ]
        found.append(verdict | _judge(elements, others) | {"same_size": pairs})
    return found


def _judge(elements: list[dict], others: list[dict]) -> dict[str, Any]:
    if not elements or not others:
        return {"holds": None, "why": f"no models with {'orbits' if elements else 'elements'}"}
    best = min(elements, key=lambda m: m["mean"])
    small = [m for m in others if m["n_parameters"] <= TENTH * best["n_parameters"]]
    alike = [m for m in elements if m["n_parameters"] <= TENTH * best["n_parameters"]]
    verdict: dict[str, Any] = {"measure": best}
    if not small:
        why = f"no model with orbits has at most a tenth of the {_size(best)} of the best with elements"
        return verdict | {"holds": None, "why": why}
    chosen = min(small, key=lambda m: m["mean"])
    holds = not_worse(chosen, best)
    equal = [m for m in others if not_worse(m, best)]
    verdict |= {
        "chosen": chosen,
        "holds": holds,
        "why": "one seed has no spread" if holds is None else "",
        "elements_hold": any(bool(not_worse(m, best)) for m in alike) if alike and holds is not None else None,
        "fewest_parameters_that_equal": min((m["n_parameters"] for m in equal), default=None),
    }
    return verdict


def sentence(verdict: dict[str, Any]) -> str:
    """A verdict in words, every one of which follows from the numbers."""
    where = f"{verdict['system']}, {verdict['network']}"
    if verdict["holds"] is None:
        return f"{where}: undecided ({verdict['why']}).{_same_size(verdict)}"
    small, large = verdict["chosen"], verdict["measure"]
    answer = "holds" if verdict["holds"] else "does not hold"
    text = (
        f"{where}: {answer}: {_size(small)} with {small['labels']} {_error(small)}, {_size(large)} with elements "
        f"{_error(large)}."
    )
    if verdict["holds"] and verdict["elements_hold"]:
        text += " A model with elements and a tenth of the parameters is as good: it is not the orbits."
    elif verdict["holds"] and verdict["elements_hold"] is None:
        text += " No model with elements is as small, so that it is not shown that the orbits do it."
    fewest, kind = verdict["fewest_parameters_that_equal"], small["labels"]
    if not verdict["holds"]:
        text += (
            f" No model with {kind} reaches it." if fewest is None else f" With {kind} it takes {fewest:,} parameters."
        )
    return text + _same_size(verdict)


def _same_size(verdict: dict[str, Any]) -> str:
    parts = [
        f"{pair['size']}, {_error(pair['orbits'])} with {pair['orbits']['labels']} and {_error(pair['elements'])} with "
        f"elements ({'lower' if pair['lower'] else 'not lower'} by more than the noise)"
        for pair in verdict.get("same_size", ())
        if pair["lower"] is not None
    ]
    return f" At the same size: {'; '.join(parts)}." if parts else ""


def _size(model: dict) -> str:
    return f"{model['n_parameters']:,} parameters"


def _error(model: dict) -> str:
    return f"{model['mean']:.3g} ± {model['standard_deviation']:.2g} meV/Å"
