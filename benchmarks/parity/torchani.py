"""Energies, forces and stresses of converted ANI models against torchani itself, in float64.

    python benchmarks/parity/torchani.py --peer-python PYTHON_WITH_TORCHANI

torchani lives in an environment of its own, of the same Python version. Its published weights are downloads, so models
of its architectures (ANI-1x, ANI-2x and a small one; CELU and GELU, cosine and triweight cutoffs) get random weights
and self-energies. See peer_models.py for what is done with them.
"""

import pathlib

import numpy as np
from peer_models import SYSTEMS, evaluated, run

HARTREE = 27.211386245988  # eV
SMALL = {
    "radial_cutoff": 4.0,
    "angular_cutoff": 3.5,
    "radial_shifts": 3,
    "angular_shifts": 2,
    "sections": 2,
    "radial_precision": 2.0,
    "angular_precision": 1.5,
    "angular_zeta": 5.5,
}
ONE = {"radial_precision": 16.0, "angular_precision": 8.0, "angular_zeta": 32.0, "angular_shifts": 4, "sections": 8}
TWO = {"radial_start": 0.8, "angular_start": 0.8, "radial_cutoff": 5.1}
CASES = {  # name -> (elements, widths of the hidden layers of each, options of simple_ani)
    "small": ("OHC", ((4, 3), (3, 3), (2, 2)), {**SMALL, "activation": "celu", "bias": True, "cutoff_fn": "cosine"}),
    "small, smooth": ("CHO", ((3, 2), (2, 2), (3, 1)), {**SMALL, "cutoff_fn": "triweight"}),
    "1x": ("HCNO", ((160, 128, 96), (144, 112, 96), (128, 112, 96), (128, 112, 96)), ONE | {"cutoff_fn": "cosine"}),
    "2x": ("HCNOSF", ((256, 192, 160),) + 2 * ((224, 192, 160),) + 3 * ((160, 128, 96),), TWO),
}


def work(folder: pathlib.Path) -> dict:
    """In torchani's environment: build, save, evaluate."""
    import torch

    torch.set_default_dtype(torch.float64)  # before torchani makes its tables
    import torchani
    from torchani.arch import simple_ani
    from torchani.nn import ANINetworks, AtomicNetwork
    from torchani.nn._core import TightCELU

    # torch's own celu rounds alpha to float32 in its derivative: 1.5e-8 off in float64
    TightCELU.forward = lambda self, x: torch.where(x > 0, x, 0.1 * torch.expm1(torch.minimum(x, 0 * x) / 0.1))
    results: dict = {"versions": {"torchani": torchani.__version__, "torch": torch.__version__}, "cases": {}}
    for number, (case, (symbols, widths, options)) in enumerate(CASES.items()):
        rng, sizes = np.random.default_rng(number), dict(zip(symbols, widths, strict=True))

        settings = {"cutoff_fn": "cosine", "activation": "celu", "bias": True, "strategy": "pyaev", **options}
        if "smooth" in case:
            settings |= {"activation": "gelu", "bias": False}
        alone = {symbol: float(np.round(rng.normal(), 4)) for symbol in symbols}
        torch.manual_seed(number)
        model = simple_ani(
            tuple(symbols), lot="none", self_energies=alone, dispersion=False, repulsion=False, **settings
        )
        for term in (model.aev_computer.radial, model.aev_computer.angular):  # made in float32
            start, n = settings.get("radial_start", 0.9), len(term.shifts)
            term.shifts = start + (term.cutoff - start) * torch.arange(n) / n
        n_angles = len(model.aev_computer.angular.sections)
        model.aev_computer.angular.sections = torch.pi * (torch.arange(n_angles) + 0.5) / n_angles
        n_in, more = model.aev_computer.out_dim, {"activation": settings["activation"], "bias": settings["bias"]}
        networks = {symbol: AtomicNetwork((n_in, *sizes[symbol], 1), **more) for symbol in symbols}
        model.potentials["nnp"].neural_networks = ANINetworks(networks)
        for value in model.potentials["nnp"].neural_networks.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.as_tensor(np.round(value.numpy() + 0.05 * rng.normal(size=value.shape), 4)))
        torch.save(model, folder / f"{number}.pt")
        results["cases"][case] = {}
        for name, system in SYSTEMS.items():
            z = torch.tensor([system["numbers"]])

            def energy(r, cell, z=z, model=model):  # type: ignore[no-untyped-def]
                pbc = None if cell is None else torch.ones(3, dtype=torch.bool)
                return model((z, r[None]), cell, pbc).energies

            results["cases"][case][name] = evaluated(energy, system, HARTREE)
    return results


if __name__ == "__main__":
    run(__file__, work, __doc__)
