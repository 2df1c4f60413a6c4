"""Networks whose cost is measured, the peers they are compared with, and the systems."""

CUTOFF = 5.0
HIP = {"n_features": 64, "n_sensitivities": 20, "n_interactions": 2, "n_atom_layers": 3, "soft_min": 1.0}
HIP |= {"soft_max": 4.5, "envelope": "cosine"}
# row -> (registered name, options, peers, the peers' model)
ROWS: dict[str, tuple[str, dict, tuple[str, ...], str]] = {
    "hipnn 64": ("hipnn", HIP, ("hippynn",), "Hipnn"),
    "hiphop l2 n3 64": (
        "hiphop",
        {**HIP, "invariants": "hop13:3,2", "normalization": "group"},
        ("hippynn",),
        "HipHopnn 2 3",
    ),
    "hiphop l3 n4 64": (
        "hiphop",
        {**HIP, "invariants": "hop13:4,3", "normalization": "group"},
        ("hippynn",),
        "HipHopnn 3 4",
    ),
    "hiphop hop14 bounded 64": ("hiphop", {**HIP, "invariants": "hop14"}, (), ""),
    "schnet 128": ("schnet", {"n_features": 128, "envelope": "cosine"}, ("schnetpack",), "SchNet"),
    "painn 128": ("painn", {}, ("schnetpack",), "PaiNN"),
    "ani 1x": ("ani", {}, ("torchani",), "ANI-1x"),
    "neuralil": ("neuralil", {}, (), ""),
    "dimenet 128": ("dimenet", {}, (), ""),
    "nequip 32x l2": ("nequip", {}, (), ""),
    "mace 32x0e": ("mace", {"channels": 32, "hidden_l": 0}, ("mace-torch", "mlip"), "32x0e"),
    "mace 128x0e+128x1o": ("mace", {"channels": 128, "hidden_l": 1}, ("mace-torch", "mlip"), "128x0e + 128x1o"),
}
ETHANOL = (
    (6, -1.168, -0.398, 0.003),
    (6, 0.063, 0.556, 0.012),
    (8, 1.201, -0.281, -0.021),
    (1, -1.166, -1.041, 0.893),
    (1, -1.130, -1.034, -0.892),
    (1, -2.091, 0.201, -0.004),
    (1, 0.065, 1.196, 0.901),
    (1, 0.058, 1.209, -0.879),
    (1, 1.991, 0.271, 0.014),
)


def systems(name: str) -> list:
    """ase.Atoms of a system, rattled by 0.05 Å with fixed seeds."""
    from ase import Atoms
    from ase.build import bulk

    if name.startswith("Si"):
        n = round((int(name[2:]) / 8) ** (1 / 3))
        found = [bulk("Si", "diamond", a=5.43, cubic=True) * (n, n, n)]
    elif name == "ethanol":
        found = [Atoms([z for z, *_ in ETHANOL], [xyz for _, *xyz in ETHANOL])]
    else:
        found = [octanol() for _ in range(8)]
    for k, atoms in enumerate(found):
        atoms.rattle(0.05, seed=k)
    return found


def octanol():  # type: ignore[no-untyped-def]
    """C8H17OH as a zigzag chain: 27 atoms at about the right distances."""
    import numpy as np
    from ase import Atoms

    symbols, positions = [], []
    for k in range(9):
        center = np.array([1.26 * k, 0.44 * (-1) ** k, 0.0])
        symbols.append("O" if k == 8 else "C")
        positions.append(center)
        side = (-1) ** k
        if k < 8:
            for z in (0.9, -0.9):
                symbols.append("H")
                positions.append(center + [0.0, 0.63 * side, z])
        if k in (0, 8):
            symbols.append("H")
            positions.append(center + [0.95 * (1 if k else -1), 0.4 * side * (-1 if k == 0 else 1), 0.0])
    return Atoms(symbols, positions)
