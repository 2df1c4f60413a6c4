"""docs/api.md: every public name with the first sentence of its docstring.

python docs/make_api.py            # writes it
"""

import importlib
import inspect
import pathlib
import types

from jorbit.datasets import DATASETS
from jorbit.descriptors import DESCRIPTORS
from jorbit.losses import LOSSES
from jorbit.models import MODELS
from jorbit.terms import TERMS

PAGE = pathlib.Path(__file__).with_name("api.md")
# Packages whose __all__ is public, and modules whose own functions and classes are.
PACKAGES = ("jorbit", "jorbit.train", "jorbit.simulate", "jorbit.orbits", "jorbit.potential", "jorbit.testing")
MODULES = (
    "jorbit.datasets.extxyz",
    "jorbit.datasets.npz",
    "jorbit.datasets.hdf5",
    "jorbit.datasets.checks",
    "jorbit.graphs.ase_atoms",
    "jorbit.graphs.batching",
    "jorbit.potential.derivatives",
    "jorbit.potential.dimers",
    "jorbit.potential.uncertainty",
    "jorbit.potential.extrapolation",
    "jorbit.potential.export",
    "jorbit.train.calibration",
    "jorbit.train.active",
    "jorbit.simulate.phonons",
    "jorbit.simulate.vibrations",
    "jorbit.simulate.elasticity",
    "jorbit.simulate.equation_of_state",
    "jorbit.simulate.defects",
    "jorbit.simulate.measurements",
    "jorbit.simulate.differentiable",
    "jorbit.simulate.transport",
)
REGISTRIES = (MODELS, TERMS, DESCRIPTORS, LOSSES, DATASETS)


def sentence(thing: object) -> str:
    """The first paragraph of a docstring, in one line."""
    text = inspect.getdoc(thing) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def public_of(module: types.ModuleType) -> dict[str, object]:
    """What a package lists, or the functions and classes a module defines itself."""
    if module.__name__ in PACKAGES:
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    }


def render() -> str:
    """The whole page."""
    parts = [
        "# Public names",
        "Written by `python docs/make_api.py` from the docstrings; `help(name)` has arguments, shapes, units, errors "
        "and an example. What is not here may change without notice.",
    ]
    for name in (*PACKAGES, *MODULES):
        module = importlib.import_module(name)
        rows = [f"| `{key}` | {sentence(thing)} |" for key, thing in sorted(public_of(module).items())]
        parts += [f"## {name}", sentence(module), "\n".join(["| name | |", "|---|---|", *rows])]
    parts += ["# Components", "By the names that YAML files, model files and `jorbit list` use."]
    for registry in REGISTRIES:
        rows = [f"| `{key}` | `{registry[key]}` | {sentence(registry.load(key))} |" for key in sorted(registry)]
        parts += [f"## {registry.kind}", "\n".join(["| name | class | |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE.name}")
