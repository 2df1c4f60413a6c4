"""What binds the notebooks into one course: badge, what is learned, what changes on a GPU, installation, the next one.

python notebooks/make_course.py [--check]        # writes the cells "course", "install" and "next" of every notebook

Everything else in a notebook is written by hand and stays. Badge and installation use the address under `Repository` in
pyproject.toml ([project.urls]); as long as there is none, notebook and wheel are uploaded to Colab. pip must not be
given the name alone: on PyPI it belongs to another package.
"""

import argparse
import json
import pathlib
import sys
import tomllib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
INSTALL = """\
# Installs what is missing: jorbit from the clone around this notebook, or from a wheel that was uploaded beside it.
import importlib.util, pathlib, shutil
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if "jorbit" in missing:
    found = [*pathlib.Path("..").glob("pyproject.toml"), *sorted(pathlib.Path().glob("jorbit-*.whl"), reverse=True)]
    source = found[0].resolve().as_uri().removesuffix("/pyproject.toml") if found else ELSEWHERE
    assert source, "Upload a wheel (`pip wheel --no-deps .` in a clone of jorbit): PyPI's jorbit is another package."
    missing[0] = f"jorbit[{'cuda12' * bool(shutil.which('nvidia-smi'))}] @ {source}"
if missing:
    %pip install -q {" ".join(map(repr, missing))}
"""


class Lesson(NamedTuple):
    """One notebook: its file, its name, what is learned, what a GPU changes, and what it needs besides jorbit."""

    file: str
    title: str
    learn: tuple[str, ...]
    gpu: str
    label: bool = False  # whether tblite, of the extra "label", is used


COURSE = (
    Lesson(
        "01_quickstart.ipynb",
        "jorbit in ten minutes",
        (
            "read labelled frames, fit a linear ACE to them by one linear solve, and measure its errors on others",
            "save the model in one file, and run molecular dynamics with it in jax-md and a relaxation in ASE",
        ),
        "Nothing has to change. Closed-form fits and simulations that conserve energy compute in float64, which many "
        "GPUs do slowly, and nine atoms leave any GPU idle: take it for systems of thousands of atoms.",
    ),
    Lesson(
        "02_optimal_invariants.ipynb",
        "Optimal invariants",
        (
            "see two environments that a common descriptor cannot tell apart, and find such holes by a rank test",
            "tell complete, independent and flexible sets of invariants from each other (`hop13`, `hop14`, `flex15`)",
            "prune an ACE to features that are not functions of others, and see what that costs a linear readout",
        ),
        "Nothing has to change, but ranks are found in float64 and are small matrices: stay on a CPU. The fits at the "
        "end may take more frames and higher degrees (`max_degree`).",
        label=True,
    ),
    Lesson(
        "03_orbits.ipynb",
        "Orbits",
        (
            "find out from a trajectory which atoms are interchangeable, and look at the groups",
            "give every orbit its own parameters, and see how many functions that saves at equal error",
        ),
        "The search for orbits runs on the host. Fits with more frames or higher degrees are matrix products: switch "
        "to a GPU for those, nothing else changes.",
    ),
    Lesson(
        "04_train_a_network.ipynb",
        "Train a network",
        (
            "train HIP-HOP-NN by gradients on energies and forces, and follow its learning curve",
            "run molecular dynamics at constant temperature with what was trained",
        ),
        "Training is where a GPU matters most: set `batch_size` to 32 or more, `n_features=64`, `n_interactions=2`, "
        '`invariants="hop14"` and some 300 epochs. Several devices share the batches by themselves.',
    ),
    Lesson(
        "05_kernels.ipynb",
        "Kernel models",
        (
            "learn one molecule from 200 frames with sGDML, and see what its symmetry is worth",
            "see where such a model knows nothing, and get error bars from a Gaussian process of atomic energies",
        ),
        "The kernel matrix is one large float64 matrix: it has to fit into the memory of the device. For more frames "
        'take `solver="iterative"`, which needs no matrix.',
    ),
    Lesson(
        "06_long_range_and_safety.ipynb",
        "Long range and safety",
        (
            "add charges and an Ewald sum to a local model, and check them against Madelung's constant",
            "put error bars on predictions, calibrate them, and stop a simulation where they grow",
        ),
        "Nothing has to change: deviations are computed on the device, inside the compiled loop. Take it for larger "
        "systems, and look more often (`every=`): each look is a batch of matrix products.",
        label=True,
    ),
    Lesson(
        "07_jax_md.ipynb",
        "Molecular dynamics",
        (
            "simulate a crystal at constant energy, temperature and pressure with a fitted model",
            "measure on the way, compare with the truth, and use the same potential in a jax-md loop of your own",
        ),
        "This is where thousands of atoms belong on a GPU: repeat the crystal, and keep `record_every` large, so that "
        'the device does not wait for the host. `dtype="mixed"` computes forces in float32 and moves atoms in float64.',
    ),
)


def repository() -> str | None:
    """owner/name at GitHub, if the project says so."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    return address.partition("github.com/")[2].removesuffix(".git").strip("/") or None


def course_cell(number: int, lesson: Lesson) -> str:
    """Badge, place in the course, what is learned, GPU."""
    owner = repository()
    target = "https://colab.research.google.com/"
    target += f"github/{owner}/blob/main/notebooks/{lesson.file}" if owner else ""
    how = "" if owner else " (File, Upload notebook; then upload a wheel of jorbit beside it, as the first cell says)"
    learn = "\n".join(f"* {item}{';' if item is not lesson.learn[-1] else '.'}" for item in lesson.learn)
    return (
        f"[![Open in Colab]({BADGE})]({target}){how}\n\n"
        f"Notebook {number} of {len(COURSE)}. You will\n\n{learn}\n\n"
        "It runs on a CPU in a few minutes. **On a GPU** (in Colab: Runtime, Change runtime type, before the first "
        f"cell; elsewhere the extra `cuda12` or `cuda13`) JAX uses the device without being told. {lesson.gpu}"
    )


def install_cell(lesson: Lesson) -> str:
    """Code that installs what is missing: from the clone, an uploaded wheel, or the repository if it is known."""
    owner = repository()
    needed = ("jorbit", "tblite") if lesson.label else ("jorbit",)
    elsewhere = f"git+https://github.com/{owner}" if owner else None
    return INSTALL.replace("NEEDED", repr(needed)).replace("ELSEWHERE", repr(elsewhere))


def next_cell(number: int) -> str:
    """Where to go from here."""
    if number == len(COURSE):
        first = COURSE[0]
        return f"This was the last notebook. The first: [{first.title}]({first.file})."
    following = COURSE[number]
    return f"Next: [{number + 1}. {following.title}]({following.file})"


def bound(notebook: dict, number: int) -> dict:
    """The notebook with its three cells: two after the title, and one at the end."""

    def cell(name: str, text: str, kind: str = "markdown") -> dict:
        code = {"execution_count": None, "outputs": []} if kind == "code" else {}
        source = text.strip("\n").splitlines(keepends=True)
        return {"cell_type": kind, "id": name, "metadata": {}, "source": source} | code

    own = [c for c in notebook["cells"] if c.get("id") not in ("course", "install", "next")]
    lesson = COURSE[number - 1]
    first = [cell("course", course_cell(number, lesson)), cell("install", install_cell(lesson), "code")]
    cells = [own[0], *first, *own[1:], cell("next", next_cell(number))]
    colab = {"name": lesson.file, "provenance": []}
    return notebook | {"cells": cells, "metadata": {"colab": colab} | notebook["metadata"]}


def main() -> None:
    """Write or check the cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a cell is out of date")
    options = parser.parse_args()
    for number, lesson in enumerate(COURSE, 1):
        path = FOLDER / lesson.file
        old = path.read_text(encoding="utf-8")
        new = json.dumps(bound(json.loads(old), number), indent=1, ensure_ascii=False) + "\n"
        if options.check and new != old:
            sys.exit(f"{lesson.file} is out of date: run python notebooks/make_course.py")
        if not options.check:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
