"""The data sets inside the package, the first two; made by benchmarks/data/make_xtb.py, described in data/README.md."""

import json
from pathlib import Path

import numpy as np

from jorbit.core.errors import DataError
from jorbit.datasets.dataset import FrameDataset
from jorbit.datasets.npz import frames_from_arrays, load_arrays

FOLDER = Path(__file__).parent / "data"


def ethanol_gfn2() -> FrameDataset:
    """Ethanol, GFN2-xTB: 2000 frames at 300, 600 and 1000 K with energies and forces; 1000 to train, 1000 to test.

    Example:
        >>> ethanol_gfn2()[0].info["temperature"] in (300.0, 600.0, 1000.0)
        True
    """
    return load_shipped("ethanol_gfn2", "Ethanol, 9 atoms, GFN2-xTB, Langevin dynamics at 300, 600 and 1000 K", 1000)


def bn_gfn1() -> FrameDataset:
    """Cubic boron nitride, 32 atoms, GFN1-xTB at the Gamma point: 300 frames with energies, forces and stress.

    200 frames to train, 100 to test.
    One supercell size, because energies of a Gamma-point method must not be mixed across supercells.

    Example:
        >>> bn_gfn1()[0].labels.stress.shape
        (3, 3)
    """
    return load_shipped(
        "bn_gfn1",
        "Cubic boron nitride, 32 atoms, periodic, GFN1-xTB at the Gamma point, Langevin dynamics at 300, 600 and "
        "1000 K in strained cells",
        200,
    )


def load_shipped(name: str, description: str, n_train: int) -> FrameDataset:
    """A set from the package's own folder.

    Args:
        name: of the file, without its ending.
        description: one line.
        n_train: the first frames are the split "train", the others "test".

    Raises:
        DataError: the file is missing.
    """
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        raise DataError(f"{path.name} is missing from the installed package. Install jorbit again.")
    arrays = load_arrays(path)
    frames = frames_from_arrays(arrays, energy_unit="eV", length_unit="angstrom", where=path.name)
    for frame, trajectory, step in zip(frames, arrays["trajectories"], arrays["steps"], strict=True):
        frame.info.update(trajectory=int(trajectory), step=int(step))
    isolated = zip(arrays["isolated_numbers"].tolist(), arrays["isolated_energies"].tolist(), strict=True)
    about = json.loads(str(arrays["about"]))
    return FrameDataset(
        name=name,
        frames=tuple(frames),
        description=description,
        citation="Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019), doi:10.1021/acs.jctc.8b01176"
        if about["method"] == "GFN2-xTB"
        else "Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989 (2017), doi:10.1021/acs.jctc.7b00118",
        licence="Apache-2.0, as jorbit",
        source=f"{about['script']}, tblite {about['versions']['tblite']}, seed {about['recipe']['seed']}",
        splits={"train": np.arange(n_train), "test": np.arange(n_train, len(frames))},
        isolated_energies=dict(isolated),
    )
