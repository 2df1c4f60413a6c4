"""What flows between terms, and what a prediction holds."""

import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.pytree import pytree


@pytree
class AtomOutputs:
    """Per-atom results of the terms so far. Energies add; other fields replace.

    Attributes:
        energy: eV, zero on padding.
        charges: e, or None when no term predicted any.
        dipoles: of single atoms, e Å, or None.
        features: learned per-atom features, or None.
    """

    energy: Float[Array, " atoms"]
    charges: Float[Array, " atoms"] | None = None
    dipoles: Float[Array, "atoms 3"] | None = None
    features: Float[Array, "atoms features"] | None = None


@pytree
class Prediction:
    """Results for a (batch of) structure(s); padded like the graph they came from (numpy arrays once
    they are unpadded).

    Attributes:
        energy: per structure, eV.
        energies: per atom, eV.
        forces: -dE/dr, eV/Å.
        stress: (1/V) dE/dε, eV/Å^3, positive under tension; zero for structures without a full cell.
        charges: e, when a term predicts them.
        energy_variance, forces_variance: predictive variances, eV^2 and (eV/Å)^2, when a model gives them.
    """

    energy: Float[Array | np.ndarray, " structures"]
    energies: Float[Array | np.ndarray, " atoms"]
    forces: Float[Array | np.ndarray, "atoms 3"]
    stress: Float[Array | np.ndarray, "structures 3 3"]
    charges: Float[Array | np.ndarray, " atoms"] | None = None
    energy_variance: Float[Array | np.ndarray, " structures"] | None = None
    forces_variance: Float[Array | np.ndarray, "atoms 3"] | None = None


@pytree
class BatchLabels:
    """Reference results in the padded shapes of a graph; weight 0 = absent.

    Attributes:
        energy: per structure, eV. forces: eV/Å. stress: eV/Å^3. charges: e.
        energy_weight, forces_weight, stress_weight, charges_weight: 0 where there is no label.
    """

    energy: Float[Array, " structures"]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "structures 3 3"]
    energy_weight: Float[Array, " structures"]
    forces_weight: Float[Array, " atoms"]
    stress_weight: Float[Array, " structures"]
    charges: Float[Array, " atoms"] | None = None
    charges_weight: Float[Array, " atoms"] | None = None
