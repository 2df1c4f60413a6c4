"""Covalent radii: two atoms nearer to each other than a little more than the sum of theirs are bonded.

References:
    B. Cordero et al., Covalent radii revisited, Dalton Trans. 2832 (2008), doi:10.1039/b801115j. Carbon is that of
    sp3, manganese, iron and cobalt those of low spin. The table ends with curium; heavier elements get 2 Å.
"""

import numpy as np
from jaxtyping import Float, Int

_HUNDREDTHS = (
    "0 31 28 128 96 84 76 71 66 57 58 166 141 121 111 107 105 102 106 203 176 170 160 153 139 139 132 126 124 132 122 "
    "122 120 119 120 120 116 220 195 190 175 164 154 147 146 142 139 145 144 142 139 139 138 139 140 244 215 207 204 "
    "203 201 199 198 198 196 194 192 192 189 190 187 187 175 170 162 151 144 141 136 136 132 145 146 148 140 150 150 "
    "260 221 215 206 200 196 190 187 180 169"
).split()
RADII = np.array([float(h) / 100.0 for h in _HUNDREDTHS] + [2.0] * (119 - len(_HUNDREDTHS)))  # Å, by atomic number


def bond_lengths(numbers: Int[np.ndarray, " atoms"], factor: float) -> Float[np.ndarray, "atoms atoms"]:
    """Longest bond of every pair, factor (r_i + r_j), in Å.

    Example:
        >>> bond_lengths(np.array([6, 1]), 1.25)[0].round(4).tolist()
        [1.9, 1.3375]
    """
    radii = RADII[numbers]
    return factor * (radii[:, None] + radii[None, :])
