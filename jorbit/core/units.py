"""Units of jorbit: eV, Å, e, amu, fs. The only conversion factors in the project (CODATA 2018).

A quantity in another unit times its factor is the quantity in jorbit's units::

    energy_in_ev = energy_in_kcal_mol * KCAL_MOL

Velocities and times inside integrators use the unit of time that makes eV, Å and amu consistent,
Å sqrt(amu / eV) = 10.18 fs; `FS` is one femtosecond in it.
"""

import math

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
AVOGADRO = 6.02214076e23  # 1/mol, exact
BOLTZMANN = 8.617333262e-5  # eV/K
ATOMIC_MASS = 1.66053906660e-27  # kg

EV = 1.0
MEV = 1e-3
HARTREE = 27.211386245988  # eV
RYDBERG = HARTREE / 2
KCAL_MOL = 4184.0 / (AVOGADRO * ELEMENTARY_CHARGE)  # eV, 0.04336411...
KJ_MOL = 1000.0 / (AVOGADRO * ELEMENTARY_CHARGE)

ANGSTROM = 1.0
BOHR = 0.529177210903  # Å
NM = 10.0

GPA = 1e9 * 1e-30 / ELEMENTARY_CHARGE  # eV/Å^3
KBAR = GPA / 10

COULOMB = HARTREE * BOHR  # e^2 / (4 pi eps0) in eV Å
FS = 1e-15 / (1e-10 * math.sqrt(ATOMIC_MASS / ELEMENTARY_CHARGE))  # fs in Å sqrt(amu / eV)

ENERGY_UNITS = {
    "ev": EV,
    "mev": MEV,
    "hartree": HARTREE,
    "ha": HARTREE,
    "rydberg": RYDBERG,
    "kcal/mol": KCAL_MOL,
    "kj/mol": KJ_MOL,
}
LENGTH_UNITS = {"angstrom": ANGSTROM, "ang": ANGSTROM, "å": ANGSTROM, "bohr": BOHR, "nm": NM}
