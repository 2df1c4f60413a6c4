"""Reference labels from GFN-xTB (tblite): energy, forces, and stress for crystals.

`label_file` writes each frame as soon as it is done, so a run that was killed goes on where it stopped.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jorbit.core.errors import DataError, MissingInputError
from jorbit.core.structure import Frame, Labels
from jorbit.datasets.extxyz import format_frame, iter_extxyz

METHODS = {"gfn1": "GFN1-xTB", "gfn2": "GFN2-xTB"}
GEOMETRY_TOLERANCE = 1e-6  # Å
METHOD_KEY, ERROR_KEY = "label_method", "label_error"


@dataclasses.dataclass(frozen=True)
class LabelReport:
    """What `label_file` did: frames labelled now, found done, and left without labels because the SCF failed."""

    n_labelled: int
    n_kept: int
    n_failed: int


def label(
    frames: Iterable[Frame],
    method: str = "gfn2",
    *,
    accuracy: float = 0.1,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[Frame]:
    """Label frames one by one; each calculation starts from scratch, so the order does not matter.

    Crystals are calculated at the Gamma point only: energies of different supercells of one crystal must not be
    mixed. Each frame's `info["label_method"]` names the method. A frame whose SCF does not converge comes back without
    labels and with the reason in `info["label_error"]`. The charge is the structure's; `info["multiplicity"]` sets the
    number of unpaired electrons.

    Args:
        frames: structures in Å; labels they already have are dropped.
        method: "gfn2" or "gfn1".
        accuracy: tblite's accuracy; smaller is tighter, 1 is tblite's default.
        progress: called with the number of frames done so far.

    Yields:
        Frames with energy (eV), forces (eV/Å) and, for crystals, stress (eV/Å^3, positive under tension).

    Raises:
        MissingInputError: tblite is not installed.
        DataError: an unknown method.

    Example:
        >>> from jorbit.datasets import read
        >>> frame = read("ethanol_gfn2")[0]
        >>> again = next(label([frame]))
        >>> abs(again.labels.energy - frame.labels.energy) < 1e-6
        True
    """
    name, calculator = _method_name(method), _tblite_calculator()
    for count, frame in enumerate(frames, start=1):
        yield _label_one(frame, name, accuracy, calculator)
        if progress is not None:
            progress(count)


def label_file(
    source: str | os.PathLike,
    output: str | os.PathLike,
    method: str = "gfn2",
    *,
    accuracy: float = 0.1,
    progress: Callable[[int, int], Any] | None = None,
) -> LabelReport:
    """Label the frames of a file and append them to `output`; frames already there are kept.

    An existing output is checked against the source frame by frame (same method, elements, positions and cell to
    1e-6 Å). A last frame that was cut off while being written is removed and calculated again.

    Args:
        source: anything `jorbit.read` reads, labelled or not.
        output: .xyz or .extxyz, not compressed.
        method: "gfn2" or "gfn1".
        accuracy: tblite's accuracy.
        progress: called with (frames done, frames in all) after each frame, and first with the frames kept.

    Returns:
        How many frames were labelled, kept, and left without labels.

    Raises:
        MissingInputError: tblite is not installed.
        DataError: the output belongs to other structures or another method, or cannot be appended to.

    Example:
        >>> label_file("in.xyz", "out.xyz", "gfn2")  # doctest: +SKIP
        LabelReport(n_labelled=20, n_kept=0, n_failed=0)
    """
    from jorbit.datasets import read

    output, name = Path(output), _method_name(method)
    if output.suffix.lower() not in (".xyz", ".extxyz"):
        raise DataError(f"Wanted an output ending in .xyz or .extxyz, got {output.name!r}: frames are appended to it.")
    if Path(source).exists() and output.exists() and Path(source).samefile(output):
        raise DataError(f"Input and output are the same file, {output}. Name another output.")
    calculator = _tblite_calculator()
    frames = read(source)
    done = frames_done(output, frames, name)
    failed = sum(ERROR_KEY in frame.info for frame in done)
    if done and progress is not None:
        progress(len(done), len(frames))
    labelled = (_label_one(frame, name, accuracy, calculator) for frame in frames[len(done) :])
    for count, frame in enumerate(append_frames(output, labelled), start=len(done) + 1):
        failed += ERROR_KEY in frame.info
        if progress is not None:
            progress(count, len(frames))
    return LabelReport(n_labelled=len(frames) - len(done), n_kept=len(done), n_failed=failed)


def _method_name(method: str) -> str:
    name = METHODS.get(str(method).lower().removesuffix("-xtb"))
    if name is None:
        raise DataError(f"Unknown method {method!r}. Known: {', '.join(METHODS)}.")
    return name


def _tblite_calculator() -> Callable[..., Any]:
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingInputError(
            "Labelling with GFN-xTB needs tblite, which is not installed. Install it with: pip install 'jorbit[label]'"
        ) from error
    return TBLite


def _label_one(frame: Frame, name: str, accuracy: float, calculator: Callable[..., Any]) -> Frame:
    from ase.calculators.calculator import CalculatorError

    from jorbit.graphs.ase_atoms import to_ase

    atoms = to_ase(frame.structure)
    info = {key: value for key, value in frame.info.items() if key != ERROR_KEY} | {METHOD_KEY: name}
    multiplicity = frame.info.get("multiplicity")
    try:
        atoms.calc = calculator(
            method=name,
            accuracy=accuracy,
            charge=frame.structure.charge,
            multiplicity=None if multiplicity is None else int(multiplicity),
            verbosity=0,
        )
        atoms.get_potential_energy()
    except (CalculatorError, RuntimeError) as error:
        reason = " ".join(str(error).split()).replace('"', "'")[:200] or type(error).__name__
        return dataclasses.replace(frame, labels=Labels(), info=info | {ERROR_KEY: reason})
    return dataclasses.replace(frame, labels=labels_of_crystal_or_molecule(atoms), info=info)


def labels_of_crystal_or_molecule(atoms: Any) -> Labels:
    """What the calculator of an ase.Atoms has found; stress only where the structure repeats in all directions."""
    from jorbit.graphs.ase_atoms import labels_from_calculator

    labels = labels_from_calculator(atoms)
    return labels if atoms.pbc.all() else dataclasses.replace(labels, stress=None)


def append_frames(output: Path, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Write each frame to the end of an extxyz file as soon as it is there, and hand it on when it is on the disk."""
    with open(output, "a", encoding="utf-8") as stream:
        for frame in frames:
            stream.write(format_frame(frame))
            stream.flush()
            os.fsync(stream.fileno())
            yield frame


def frames_done(output: Path, frames: list[Frame], name: str | None = None) -> list[Frame]:
    """The frames of an output that are done; cuts off a last frame that is not whole.

    Args:
        output: extxyz; none yet when it does not exist.
        frames: what was to be labelled.
        name: of the method that must have labelled them; None when frames do not say.

    Raises:
        DataError: the output belongs to other structures or another method.
    """
    if _truncate_to_whole_frames(output) == 0:
        return []
    done = list(iter_extxyz(output))
    if len(done) > len(frames):
        raise DataError(f"{output} has {len(done)} frames, the input only {len(frames)}. Name another output.")
    for index, (old, new) in enumerate(zip(done, frames, strict=False)):
        if name is not None and old.info.get(METHOD_KEY) != name:
            got = old.info.get(METHOD_KEY, "no method")
            raise DataError(f"{output}, frame {index}: labelled with {got}, wanted {name}. Name another output.")
        if not _same_geometry(old, new):
            raise DataError(
                f"{output}, frame {index}, is not frame {index} of the input: elements, positions or cell differ by "
                f"more than {GEOMETRY_TOLERANCE} Å. Name another output."
            )
    return done


def _truncate_to_whole_frames(path: Path) -> int:
    """Cut off a last frame that was not written to its end; the size that is left, 0 without a file."""
    if not path.exists():
        return 0
    end = _end_of_last_whole_frame(path)
    if end < path.stat().st_size:
        with open(path, "r+b") as stream:
            stream.truncate(end)
    return end


def _same_geometry(old: Frame, new: Frame) -> bool:
    """Whether two frames are of the same atoms in the same places."""
    a, b = old.structure, new.structure
    if not np.array_equal(a.numbers, b.numbers) or not np.array_equal(a.pbc, b.pbc) or a.charge != b.charge:
        return False
    return bool(
        np.allclose(a.positions, b.positions, rtol=0, atol=GEOMETRY_TOLERANCE)
        and np.allclose(a.cell, b.cell, rtol=0, atol=GEOMETRY_TOLERANCE)
    )


def _end_of_last_whole_frame(path: Path) -> int:
    """Byte offset behind the last frame whose lines are all there, each with its line end."""
    end = 0
    with open(path, "rb") as stream:
        while True:
            first = stream.readline()
            if not first.strip().isdigit() or not first.endswith(b"\n"):
                if first.strip() and first.endswith(b"\n"):
                    raise DataError(
                        f"{path} is not an xyz file that jorbit wrote (got {first[:40]!r} instead of a number of "
                        "atoms). Nothing was changed. Name another output."
                    )
                return end
            for _ in range(int(first) + 1):
                if not stream.readline().endswith(b"\n"):
                    return end
            end = stream.tell()
