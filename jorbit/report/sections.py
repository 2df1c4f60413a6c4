"""Ready-made parts of a report, from plain arrays."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jorbit.report.figures import draw_conservation, draw_element_errors, draw_parity
from jorbit.report.html import Section, picture, table

MEV = 1000.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Reference and predicted values on the same frames; arrays are empty where there were no labels.

    Attributes:
        energy_reference, energy_predicted: per frame, eV/atom.
        forces_reference, forces_predicted: of every labelled atom, eV/Å.
        symbols: element symbol of each of those atoms.
        orbits: orbit of each of those atoms, or nothing when none is known.
    """

    energy_reference: Float[np.ndarray, " frames"]
    energy_predicted: Float[np.ndarray, " frames"]
    forces_reference: Float[np.ndarray, "atoms 3"]
    forces_predicted: Float[np.ndarray, "atoms 3"]
    symbols: Sequence[str]
    orbits: Sequence[str] = ()


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """Parity plots of energies and forces, and the force error of each element."""
    pictures = []
    if len(evaluation.energy_reference):
        mean = evaluation.energy_reference.mean()
        draw = functools.partial(
            draw_parity,
            MEV * (evaluation.energy_reference - mean),
            MEV * (evaluation.energy_predicted - mean),
            quantity="energy",
            plural="energies per atom",
            unit="meV/atom from the mean",
            error_unit="meV/atom",
            error_factor=1.0,
        )
        pictures.append(picture(lambda theme: draw(theme=theme), "Predicted against reference energies per atom"))
    if not len(evaluation.symbols):
        return [_parity(pictures)] if pictures else []
    forces = functools.partial(
        draw_parity,
        evaluation.forces_reference.ravel(),
        evaluation.forces_predicted.ravel(),
        quantity="force component",
        plural="force components",
        unit="eV/Å",
        error_unit="meV/Å",
    )
    pictures.append(picture(lambda theme: forces(theme=theme), "Predicted against reference force components"))
    return [_parity(pictures), _by_element(evaluation)] + ([_by_orbit(evaluation)] if len(evaluation.orbits) else [])


def _parity(pictures: Sequence[str]) -> Section:
    return Section(
        "Predicted against reference",
        "Frames the fit has not seen. A perfect model puts every point on the diagonal; the lower strip shows the "
        "error itself on a finer scale. Energies are per atom, with the mean reference energy taken away. Where many "
        "points overlap, the colour says how many.",
        f'<div class="figures">{"".join(pictures)}</div>',
    )


def _by_element(evaluation: Evaluation) -> Section:
    error = MEV * (evaluation.forces_predicted - evaluation.forces_reference)
    symbols = np.asarray(evaluation.symbols)
    names = sorted(set(evaluation.symbols))
    mae = {n: float(np.abs(error[symbols == n]).mean()) for n in names}
    rmse = {n: float(np.sqrt((error[symbols == n] ** 2).mean())) for n in names}
    counts = {n: int((symbols == n).sum()) for n in names}
    draw = functools.partial(draw_element_errors, mae, rmse, counts, unit="meV/Å")
    return Section(
        "Error by element",
        "Mean absolute and root-mean-square error of the force components on the atoms of each element. An RMSE far "
        "above the MAE means a few large errors rather than many small ones.",
        picture(lambda theme: draw(theme=theme), "Force error by element"),
    )


def _by_orbit(evaluation: Evaluation) -> Section:
    error = MEV * (evaluation.forces_predicted - evaluation.forces_reference)
    size = MEV * evaluation.forces_reference
    names = np.asarray(evaluation.orbits)
    rows = []
    for name in sorted(set(evaluation.orbits), key=_natural):
        mine = names == name
        values = (np.abs(error[mine]).mean(), np.sqrt((error[mine] ** 2).mean()), np.sqrt((size[mine] ** 2).mean()))
        rows.append([name, f"{int(mine.sum()):,}", *(f"{v:.3g}" for v in values)])
    return Section(
        "Error by orbit",
        "Orbits are sets of atoms that the data show to be interchangeable. Errors of the force components on the "
        "atoms of each orbit, and the root mean square of those components themselves, in meV/Å: hard environments "
        "stand out here that the mean over an element hides.",
        table(["orbit", "atoms", "MAE", "RMSE", "force"], rows),
    )


def _natural(name: str) -> tuple[str, int]:
    """C2 before C10."""
    symbol = name.rstrip("0123456789")
    return symbol, int(name[len(symbol) :] or 0)


def error_section(headers: Sequence[str], rows: Sequence[Sequence[str]], text: str) -> Section:
    """A table of errors with its explanation."""
    return Section("Errors on held-out frames", text, table(headers, rows))


def drift_text(drift: float, drift_error: float) -> str:
    """A drift with its standard error and unit.

    Example:
        >>> drift_text(-0.0123, 0.004)
        '-0.012 ± 0.004 meV/atom/ps'
    """
    return f"{drift:+.2g} ± {drift_error:.1g} meV/atom/ps"


def conservation_section(
    time: Float[np.ndarray, " steps"],
    potential: Float[np.ndarray, " steps"],
    kinetic: Float[np.ndarray, " steps"],
    *,
    n_atoms: int,
    drift: float,
    drift_error: float,
) -> Section:
    """Energies of an NVE run.

    Args:
        time: ps.
        potential, kinetic: eV.
        n_atoms: size of the system.
        drift, drift_error: slope of the total energy and its standard error, meV/atom/ps.
    """
    draw = functools.partial(
        draw_conservation, time, potential, kinetic, n_atoms=n_atoms, drift=drift_text(drift, drift_error)
    )
    return Section(
        "Energy conservation",
        "Molecular dynamics at constant energy. Potential and kinetic energy are exchanged while their sum stays: "
        "it oscillates by an amount that shrinks with the square of the time step, and its slope (the drift) stays "
        "zero within its error when the forces are the derivative of the energy.",
        picture(lambda theme: draw(theme=theme), "Potential, kinetic and total energy against time"),
    )
