"""Energies and forces of point charges by torch-pme: the golden numbers of tests/terms/test_ewald.py.

    PYTHON_WITH_TORCH_PME benchmarks/parity/ewald.py

Charges are e, lengths Å and energies e^2/Å (prefactor 1), so that no constant of nature is compared.
"""

import json
import pathlib

import numpy as np
import torch
import torchpme
import vesin

TARGET = pathlib.Path(__file__).resolve().parents[2] / "tests" / "terms" / "golden_ewald.json"
CUTOFF, SMEARING, WAVELENGTH = 8.0, 8.0 / 6.5, 0.55  # erfc and exp fall below 1e-9 in both sums


def waters(n: int, cell: np.ndarray, seed: int) -> tuple[np.ndarray, list[float]]:
    """Water molecules of random orientation on a rattled lattice of fractional points."""
    rng = np.random.default_rng(seed)
    side = round(n ** (1 / 3))
    points = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) / side
    shape = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])
    rows = []
    for point in points:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        rows.append(point @ cell + 0.15 * rng.normal(size=3) + shape @ turn)
    return np.concatenate(rows), [-0.834, 0.417, 0.417] * len(points)


def structures() -> dict[str, dict]:
    box = np.array([[6.3, 0.0, 0.0], [0.0, 6.4, 0.0], [0.0, 0.0, 6.5]])
    skew = np.array([[5.1, 0.0, 0.0], [1.7, 4.9, 0.0], [-1.1, 1.3, 5.6]])
    ions = np.array([[0.1, 0.2, 0.1], [0.55, 0.5, 0.1], [0.5, 0.1, 0.6], [0.0, 0.6, 0.6], [0.3, 0.35, 0.4]]) @ skew
    flat = np.array([[4.2, 0.0, 0.0], [0.9, 3.8, 0.0], [0.0, 0.0, 40.0]])
    layer = np.array([[0.1, 0.0, 0.2], [2.3, 2.1, 1.4], [1.2, 3.3, 2.9], [3.6, 0.8, 3.1]])
    water, charges = waters(8, box, 0)
    return {
        "water": dict(cell=box, positions=water, charges=charges, pbc=[True] * 3),
        "triclinic salt": dict(cell=skew, positions=ions[:4], charges=[1.0, -1.0, 2.0, -2.0], pbc=[True] * 3),
        "charged": dict(cell=skew, positions=ions, charges=[1.0, -1.0, 1.0, -1.0, 1.0], pbc=[True] * 3),
        "slab": dict(cell=flat, positions=layer, charges=[1.0, -0.4, 0.7, -1.3], pbc=[True, True, False]),
    }


def evaluate(cell: np.ndarray, positions: np.ndarray, charges: list[float], pbc: list[bool]) -> dict:
    torch.set_default_dtype(torch.float64)
    search = vesin.NeighborList(cutoff=CUTOFF, full_list=True)
    i, j, shifts = search.compute(points=positions, box=cell, periodic=True, quantities="ijS")
    r = torch.tensor(positions, requires_grad=True)
    lattice, q = torch.tensor(cell), torch.tensor(charges)[:, None]
    index = torch.tensor(np.stack([i, j], 1).astype(np.int64))
    vectors = r[index[:, 1]] - r[index[:, 0]] + torch.tensor(shifts.astype(float)) @ lattice
    calculator = torchpme.EwaldCalculator(
        torchpme.CoulombPotential(smearing=SMEARING), lr_wavelength=WAVELENGTH, full_neighbor_list=True
    )
    potential = calculator(q, lattice, r, index, vectors.norm(dim=1), periodic=torch.tensor(pbc))
    energy = (q * potential).sum()
    energy.backward()
    return {"energy": energy.item(), "forces": (-r.grad).tolist()}


if __name__ == "__main__":
    cases = {}
    for name, s in structures().items():
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in s.items()}
        cases[name] = plain | evaluate(**s)
    content = {
        "package": "torch-pme",
        "version": torchpme.__version__,
        "script": "benchmarks/parity/ewald.py",
        "units": "e, Å, e^2/Å",
        "cases": cases,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")
