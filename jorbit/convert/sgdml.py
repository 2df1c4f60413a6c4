"""Files of the sgdml package, read and written: models and data sets in npz archives. Nothing is ever unpickled.

sgdml keeps lattice vectors as columns, rounds fractional coordinates to find images, and writes energies and forces in
the unit of its training data (kcal/mol where a file does not say). Statistics of errors that it pickles are skipped.
"""

import hashlib
import os
import pathlib
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jorbit.basis.inverse_distances import pair_permutations
from jorbit.convert.foreign import unit_in_ev
from jorbit.core.errors import ConfigError, DataError, ModelFileError, StructureError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.core.units import KCAL_MOL, LENGTH_UNITS
from jorbit.datasets import read
from jorbit.models.sgdml import SGDML
from jorbit.potential.artefact import load
from jorbit.potential.potential import Potential

WRITTEN_AS = "1.0.3"  # the version whose files these are
_MODEL_KEYS = ("z", "R_desc", "R_d_desc_alpha", "perms", "sig", "std", "c")


def convert_sgdml(
    path: pathlib.Path, *, trust: bool = False, energy_unit: float | str | None = None
) -> tuple[Potential, Params]:
    """A model file of sgdml as a potential in eV and Å.

    Args:
        path: what `sgdml train` wrote.
        trust: makes no difference: these files are read without running code.
        energy_unit: of the model, where the file does not say; sgdml's own models are in kcal/mol.

    Raises:
        ModelFileError: no such file, or one that holds something else.
    """
    arrays = plain_arrays(path)
    if _text(arrays.get("type")) != "m":
        kind = {"d": "a data set: read it with jorbit.read", "t": "a training task: train it first"}
        raise ModelFileError(
            f"{path} is no model of sgdml but {kind.get(_text(arrays.get('type')), 'something else')}."
        )
    missing = [key for key in _MODEL_KEYS if key not in arrays]
    if missing:
        raise ModelFileError(f"{path} lacks {', '.join(missing)}: not a complete model of sgdml 0.4 or later.")
    energy, length = _units(path, arrays, energy_unit)
    numbers = tuple(int(z) for z in arrays["z"])
    points = np.asarray(arrays["R_desc"], dtype=np.float64).T
    weights = -np.asarray(arrays["R_d_desc_alpha"], dtype=np.float64)
    permutations = np.ascontiguousarray(arrays["perms"], dtype=np.int32)
    n_pairs = len(numbers) * (len(numbers) - 1) // 2
    if points.shape[1:] != (n_pairs,) or weights.shape != points.shape or permutations.shape[1:] != (len(numbers),):
        raise ModelFileError(
            f"{path}: descriptors {points.shape}, weights {weights.shape} and permutations {permutations.shape} do not "
            f"belong to {len(numbers)} atoms."
        )
    cell = None
    if "lattice" in arrays:
        rows = np.asarray(arrays["lattice"], dtype=np.float64).T * length
        cell = tuple((float(a), float(b), float(c)) for a, b, c in rows)
    term = SGDML(
        numbers=numbers,
        cell=cell,
        pbc=(True, True, True) if cell is not None else (False, False, False),
        images="exact" if cell is None else "round",
    )
    center = points.mean(axis=0)
    # descriptors are 1/length, and derivatives by them energy * length
    params: dict[str, Any] = {
        "points": (points - center) / length,
        "center": center / length,
        "weights": weights / length,
        "permutations": permutations,
        "sigma": np.array(float(arrays["sig"]) / length),
        "scale": np.array(float(arrays["std"]) * energy),
        "constant": np.array(float(arrays["c"]) * energy),
    }
    if "alphas_E" in arrays:
        params["energy_weights"] = np.asarray(arrays["alphas_E"], dtype=np.float64)
    return Potential(terms=(term,), species=SpeciesTable.from_numbers(numbers)), {"sgdml": params}


def write_sgdml_model(
    path: str | os.PathLike[str],
    potential: Potential,
    params: Params,
    *,
    energy_unit: str = "kcal/mol",
    alphas: Float[np.ndarray, " rows"] | None = None,
    regularization: float = 1e-10,
) -> None:
    """Write a potential as a model file of sgdml, for its programs and those built on it.

    Args:
        path: where to, conventionally .npz.
        potential: one sGDML term and nothing else.
        params: its parameters.
        energy_unit: of the file.
        alphas: coefficients (`report.alphas`), which sgdml needs to go on training but not to predict.
        regularization: what the model was trained with, for the record.

    Raises:
        ConfigError: terms that a file of sgdml has no room for, or exact images in a cell: sgdml rounds.
    """
    term = potential.terms[0]
    if len(potential.terms) != 1 or not isinstance(term, SGDML):
        raise ConfigError(f"A file of sgdml holds one sGDML model, and the potential is {' + '.join(potential.names)}.")
    if term.is_periodic and term.images != "round":
        raise ConfigError(
            "sgdml rounds fractional coordinates to find images, and this model takes the nearest ones: the file would "
            "predict something else. Fit it with images='round' to use it in sgdml."
        )
    values = {k: np.asarray(v) for k, v in params["sgdml"].items()}
    permutations, sigma = values["permutations"].astype(np.int64), float(values["sigma"])
    n_points = len(values["points"])
    factor = unit_in_ev(energy_unit)
    arrays: dict[str, Any] = {
        "type": "m",
        "code_version": WRITTEN_AS,
        "dataset_name": "jorbit",
        "dataset_theory": "unknown",
        "solver_name": "analytic",
        "z": np.array(term.numbers, dtype=np.uint8),
        "idxs_train": np.arange(n_points),
        "md5_train": "",
        "idxs_valid": np.zeros(0, np.int64),
        "md5_valid": "",
        "n_test": 0,
        "R_desc": (values["points"] + values["center"]).T,
        "R_d_desc_alpha": -values["weights"],
        "c": float(values["constant"]) / factor,
        "std": float(values["scale"]) / factor,
        "sig": int(sigma) if sigma == int(sigma) else sigma,
        "lam": regularization,
        "alphas_F": np.zeros(3 * n_points * term.n_atoms) if alphas is None else -np.asarray(alphas),
        "perms": permutations,
        "tril_perms_lin": _lined_up(permutations),
        "use_E": True,
        "r_unit": "Ang",
        "e_unit": energy_unit,
    }
    if "energy_weights" in values:
        arrays["alphas_E"] = values["energy_weights"]
    if term.cell is not None:
        arrays["lattice"] = np.array(term.cell).T
    np.savez_compressed(path, **arrays)


def write_sgdml_dataset(
    path: str | os.PathLike[str],
    frames: Iterable[Frame],
    *,
    name: str = "jorbit",
    theory: str = "unknown",
    energy_unit: str = "kcal/mol",
    permutations: Int[np.ndarray, "permutations atoms"] | None = None,
) -> None:
    """Write frames of one system as a data set of sgdml, lattice vectors as columns.

    Args:
        path: where to, conventionally .npz.
        frames: with forces; with energies where all have them.
        name, theory: what sgdml calls its files after.
        energy_unit: of the file.
        permutations: for sgdml to use instead of its own search.

    Raises:
        DataError: frames of different systems or cells, or without forces.
    """
    frames = list(frames)
    if not frames:
        raise DataError("There are no frames to write.")
    term = SGDML.of(frames[0].structure.check())
    if term.is_periodic and not all(term.pbc):
        raise DataError(
            "sgdml knows cells that repeat in three directions or none. Give the slab a lattice vector across the "
            "vacuum, and pbc there."
        )
    for k, frame in enumerate(frames):
        try:
            term.check_structure(frame.structure)
        except StructureError as error:
            raise DataError(f"Frame {k} does not belong to the system of frame 0: {error}") from error
        if term.cell is not None and not np.allclose(frame.structure.cell, term.cell, rtol=0, atol=1e-6):
            raise DataError(f"The cell of frame {k} is not that of frame 0: a data set of sgdml has one cell.")
    forces = [f.labels.forces for f in frames if f.labels.forces is not None]
    energies = [f.labels.energy for f in frames if f.labels.energy is not None]
    if len(forces) < len(frames):
        raise DataError(f"{len(frames) - len(forces)} of {len(frames)} frames have no forces, and sgdml needs them.")
    factor = unit_in_ev(energy_unit)
    arrays: dict[str, Any] = {
        "type": "d",
        "code_version": WRITTEN_AS,
        "name": name,
        "theory": theory,
        "R": np.stack([np.asarray(f.structure.positions, dtype=np.float64) for f in frames]),
        "z": np.array(term.numbers, dtype=np.uint8),
        "F": np.stack(forces) / factor,
        "r_unit": "Ang",
        "e_unit": energy_unit,
    }
    arrays |= _statistics("F", arrays["F"])
    if len(energies) == len(frames):
        arrays["E"] = np.array(energies) / factor
        arrays |= _statistics("E", arrays["E"])
    if term.cell is not None:
        arrays["lattice"] = np.array(term.cell).T
    if permutations is not None:
        arrays["perms"] = np.asarray(permutations, dtype=np.int64)
    np.savez_compressed(path, **arrays, md5=_fingerprint(arrays))


def export_sgdml(source: str | os.PathLike[str], output: str | os.PathLike[str]) -> str:
    """A model file of jorbit, or frames from a file or data set, as a file of sgdml in kcal/mol.

    Args:
        source: *.safetensors, or what `jorbit.read` takes.
        output: where to, conventionally .npz.

    Returns:
        What was written, in words.
    """
    if pathlib.Path(source).suffix == ".safetensors":
        potential, params = load(source)
        write_sgdml_model(output, potential, params)
        return "model of sgdml"
    frames = read(source)
    write_sgdml_dataset(output, frames, name=pathlib.Path(source).stem)
    return f"data set of sgdml, {len(frames)} frames"


def plain_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an npz archive that are no pickles; pickled ones are skipped unopened.

    Raises:
        ModelFileError: not such an archive, or damaged.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            result = {}
            for key in stored.files:
                try:
                    result[key] = stored[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
            return result
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{os.fspath(path)} cannot be read as an npz archive ({error}). Copy it again.") from error


def _text(value: Any) -> str:
    if value is None:
        return ""
    item = np.asarray(value).item()
    return item.decode() if isinstance(item, bytes) else str(item)


def _units(path: pathlib.Path, arrays: dict[str, np.ndarray], energy_unit: float | str | None) -> tuple[float, float]:
    """eV and Å of the file's units."""
    given = _text(arrays.get("e_unit")) if energy_unit is None else energy_unit
    energy = KCAL_MOL if given == "" else unit_in_ev(given)
    unit = _text(arrays.get("r_unit")) or "ang"
    if unit.lower() not in LENGTH_UNITS:
        raise ModelFileError(f"{path}: unknown unit of length {unit!r}: wanted one of {', '.join(LENGTH_UNITS)}.")
    return energy, LENGTH_UNITS[unit.lower()]


def _lined_up(permutations: Int[np.ndarray, "permutations atoms"]) -> Int[np.ndarray, " entries"]:
    """sgdml's one long permutation of copies of the descriptor laid end to end."""
    of_pairs = np.asarray(pair_permutations(permutations)).astype(np.int64)
    return (of_pairs + np.arange(len(of_pairs))[:, None] * of_pairs.shape[1]).flatten("F")


def _statistics(name: str, values: np.ndarray) -> dict[str, float]:
    return {f"{name}_{k}": float(getattr(values, k)()) for k in ("min", "max", "mean", "var")}


def _fingerprint(arrays: dict[str, Any]) -> bytes:
    """What sgdml recognises a data set by."""
    digest = hashlib.md5(usedforsecurity=False)
    for key in ("z", "R", *(["E"] if "E" in arrays else []), "F"):
        content = np.ascontiguousarray(arrays[key]).ravel()
        digest.update(hashlib.md5(content.tobytes(), usedforsecurity=False).digest())
    return digest.hexdigest().encode()
