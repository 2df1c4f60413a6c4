"""Energy against volume, and the Birch-Murnaghan equation through it."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import GPA
from jorbit.potential.potential import Potential
from jorbit.simulate.batched_relaxation import relax_many


@dataclasses.dataclass(frozen=True, eq=False)
class EquationOfState:
    """Energies of a cell that is scaled, with its atoms relaxed.

    Attributes:
        volumes: Å^3.
        energies: eV.
        volume: of the minimum, Å^3.
        energy: of the minimum, eV.
        bulk_modulus: eV/Å^3; `bulk_modulus_gpa` in GPa.
        bulk_modulus_slope: dB/dP.
        scale: of the cell at the minimum, with respect to the cell given.
        residual: root mean square deviation of the energies from the curve, eV.
    """

    volumes: Float[np.ndarray, " points"]
    energies: Float[np.ndarray, " points"]
    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_slope: float
    scale: float
    residual: float

    @property
    def bulk_modulus_gpa(self) -> float:
        """Bulk modulus in GPa."""
        return self.bulk_modulus / GPA

    def curve(self, volumes: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Energies of the fitted equation, eV."""
        x = (self.volume / volumes) ** (2 / 3) - 1
        return self.energy + 9 / 8 * self.volume * self.bulk_modulus * x**2 * (
            1 + 0.5 * (self.bulk_modulus_slope - 4) * x
        )


def equation_of_state(
    potential: Potential,
    params: Params,
    structure: Structure,
    *,
    span: float = 0.08,
    n_points: int = 11,
    relax_atoms: bool = True,
    max_force: float = 1e-3,
) -> EquationOfState:
    """Scale a cell around its volume, relax the atoms in each (all at once), and fit E(V).

    The third-order Birch-Murnaghan equation is a polynomial in V^(-2/3), so the fit is linear.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: near the minimum; its cell keeps its shape.
        span: volumes from (1 - span) to (1 + span).
        n_points: how many, at least 5.
        relax_atoms: False scales them with the cell only.
        max_force: of the relaxation, eV/Å.

    Raises:
        ConfigError: no full cell, or too few points.
        SimulationError: no minimum between the volumes, or atoms that find no rest.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> cell = 5.25 * (1 - np.eye(3)) / 2
        >>> fcc = Structure(positions=np.zeros((1, 3)), numbers=np.array([18]), cell=cell, pbc=np.ones(3, bool))
        >>> round(equation_of_state(argon, {"lennard_jones": {}}, fcc).bulk_modulus_gpa, 1)
        3.2

    References:
        Birch, Phys. Rev. 71, 809 (1947).
    """
    if not np.all(structure.pbc):
        raise ConfigError("An equation of state needs a cell that repeats in all three directions.")
    if n_points < 5 or not 0 < span < 0.5:
        raise ConfigError(f"Wanted n_points >= 5 and 0 < span < 0.5, got {n_points} and {span}.")
    scales = np.cbrt(np.linspace(1 - span, 1 + span, n_points))
    scaled = [
        dataclasses.replace(structure, positions=structure.positions * x, cell=structure.cell * x) for x in scales
    ]
    steps = 500 if relax_atoms else 0
    results = relax_many(potential, params, scaled, max_force=max_force, max_steps=steps)
    restless = [k for k, r in enumerate(results) if relax_atoms and not r.converged]
    if restless:
        raise SimulationError(
            f"At {len(restless)} of {n_points} volumes the atoms are not relaxed after {steps} steps (largest force "
            f"{max(results[k].max_force for k in restless):.3g} eV/Å, wanted {max_force:g}): relax the structure "
            "first, raise max_force, or let the atoms follow the cell (relax_atoms=False)."
        )
    volumes = structure.volume * scales**3
    energies = np.array([r.energies[-1] for r in results])
    return fit_birch_murnaghan(volumes, energies, structure.volume)


def fit_birch_murnaghan(
    volumes: Float[np.ndarray, " points"], energies: Float[np.ndarray, " points"], reference: float
) -> EquationOfState:
    """Minimum, bulk modulus and its slope from energies (eV) at volumes (Å^3); `scale` refers to a volume.

    Raises:
        SimulationError: no minimum between the volumes.
    """
    unit = float(volumes.mean())
    x = (volumes / unit) ** (-2 / 3)
    centre = energies.mean()
    c = np.polynomial.Polynomial.fit(x, energies - centre, 3).convert().coef
    c = np.pad(c, (0, 4 - len(c)))
    roots = np.roots([3 * c[3], 2 * c[2], c[1]])
    good = [
        r.real
        for r in roots
        if abs(r.imag) < 1e-9 and x.min() <= r.real <= x.max() and 6 * c[3] * r.real + 2 * c[2] > 0
    ]
    if not good:
        raise SimulationError(
            f"The energy has no minimum between {volumes.min():.2f} and {volumes.max():.2f} Å^3. Relax the cell first "
            "(jorbit relax --cell), or widen the span."
        )
    y = good[0]
    # With y = (V/unit)^(-2/3): dE/dV and so on by the chain rule.
    volume = unit * y**-1.5
    first, second, third = 0.0, 2 * c[2] + 6 * c[3] * y, 6 * c[3]
    dy = -2 / 3 * y / volume
    d2y = 10 / 9 * y / volume**2
    bulk = volume * (second * dy**2 + first * d2y)
    d3 = third * dy**3 + 3 * second * dy * d2y
    slope = -1 - volume**2 * d3 / bulk
    fitted = centre + np.polynomial.polynomial.polyval(x, c)
    return EquationOfState(
        volumes=volumes,
        energies=energies,
        volume=float(volume),
        energy=float(centre + np.polynomial.polynomial.polyval(y, c)),
        bulk_modulus=float(bulk),
        bulk_modulus_slope=float(slope),
        scale=float(np.cbrt(volume / reference)),
        residual=float(np.sqrt(np.mean((fitted - energies) ** 2))),
    )
