"""Energies, forces and stresses of converted SchNet and PaiNN models against schnetpack itself, in float64.

    python benchmarks/parity/schnetpack.py --peer-python PYTHON_WITH_SCHNETPACK

schnetpack lives in an environment of its own, of the same Python version. Models get random weights and offsets of
elements. See peer_models.py for what is done with them.
"""

import pathlib

import numpy as np
from peer_models import SYSTEMS, evaluated, run

CUTOFF = 4.0
CASES = {  # name -> (representation, radial functions and their number, width, blocks, more options)
    "SchNet small": ("SchNet", "GaussianRBF", 5, 4, 2, {}),
    "PaiNN small, Gaussians": ("PaiNN", "GaussianRBF", 5, 4, 2, {}),
    "PaiNN small, Bessel, shared filters": ("PaiNN", "BesselRBF", 3, 4, 1, {"shared_filters": True}),
    "SchNet": ("SchNet", "GaussianRBF", 33, 128, 6, {}),
    "PaiNN": ("PaiNN", "GaussianRBF", 17, 128, 3, {}),
    "PaiNN, Bessel": ("PaiNN", "BesselRBF", 20, 64, 3, {}),
}


def work(folder: pathlib.Path) -> dict:
    """In schnetpack's environment: build, save, evaluate."""
    import importlib.metadata
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    import schnetpack as spk
    import schnetpack.transform as trn
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    versions = {"schnetpack": importlib.metadata.version("schnetpack"), "torch": torch.__version__}
    results: dict = {"versions": versions, "cases": {}}
    for number, (case, (kind, radial, n_radial, width, n_blocks, more)) in enumerate(CASES.items()):
        torch.set_default_dtype(torch.float32)  # schnetpack makes its Gaussians in no other
        torch.manual_seed(number)
        rng = np.random.default_rng(number)
        representation = getattr(spk.representation, kind)(
            n_atom_basis=width,
            n_interactions=n_blocks,
            radial_basis=getattr(spk.nn, radial)(n_radial, CUTOFF),
            cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
            **more,
        )
        offsets = trn.AddOffsets("energy", add_mean=True, add_atomrefs=True)
        model = spk.model.NeuralNetworkPotential(
            representation,
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[spk.atomistic.Atomwise(n_in=width, output_key="energy")],
            postprocessors=[trn.CastTo64(), offsets],
        )
        torch.set_default_dtype(torch.float64)
        model = model.double()
        if radial == "BesselRBF":  # the Gaussians' centres are exact in float32, these are not
            representation.radial_basis.freqs = torch.arange(1, n_radial + 1) * torch.pi / CUTOFF
        for value in representation.parameters():
            noise = 0.05 * rng.normal(size=value.shape)
            value.data.copy_(torch.as_tensor(np.round(value.detach().numpy() + noise, 4)))
        offsets.atomref, offsets.mean = torch.tensor(np.round(rng.normal(size=100), 4)), torch.tensor([0.25])
        model.eval()
        torch.save(model, folder / f"{number}.pt")
        results["cases"][case] = {}
        for name, system in SYSTEMS.items():
            pbc = system["cell"] is not None
            atoms = Atoms(system["numbers"], system["positions"], cell=system["cell"], pbc=pbc)
            i, j, shifts = neighbor_list("ijS", atoms, CUTOFF)

            def energy(r, cell, i=i, j=j, shifts=shifts, model=model, system=system):  # type: ignore[no-untyped-def]
                offset = torch.zeros((len(i), 3)) if cell is None else torch.tensor(shifts, dtype=r.dtype) @ cell
                n = len(system["numbers"])
                inputs = {
                    "_atomic_numbers": torch.tensor(system["numbers"]),
                    "_positions": r,
                    "_idx_i": torch.tensor(i),
                    "_idx_j": torch.tensor(j),
                    "_offsets": offset,
                    "_idx_m": torch.zeros(n, dtype=torch.long),
                    "_n_atoms": torch.tensor([n]),
                }
                return model(inputs)["energy"]

            results["cases"][case][name] = evaluated(energy, system)
    return results


if __name__ == "__main__":
    run(__file__, work, __doc__)
