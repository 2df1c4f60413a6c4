"""Reference labels from any ASE calculator; written frame by frame, so that a killed run goes on where it stopped."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jorbit.core.errors import ConfigError
from jorbit.core.structure import Frame
from jorbit.datasets.extxyz import iter_extxyz
from jorbit.datasets.label import append_frames, frames_done, labels_of_crystal_or_molecule
from jorbit.graphs.ase_atoms import to_ase


def make_calculator(name: str, options: Mapping[str, Any]) -> Callable[[], Any]:
    """A function that makes a calculator, from "module:Class".

    Raises:
        ConfigError: there is no such class.

    Example:
        >>> type(make_calculator("ase.calculators.emt:EMT", {})()).__name__
        'EMT'
    """
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"There is no calculator {name!r} ({error}): wanted 'module:Class'.") from error
    return lambda: made(**options)


def label_with(source: Path, output: Path, calculator: Callable[[], Any]) -> int:
    """Label the frames of a file and append them to `output`; frames already there are kept.

    Args:
        source: structures.
        output: extxyz.
        calculator: makes a fresh ASE calculator.

    Returns:
        How many were labelled now.

    Raises:
        DataError: the output belongs to other structures.
    """
    frames = list(iter_extxyz(source))
    n_done = len(frames_done(output, frames))
    for _ in append_frames(output, (_labelled(frame, calculator) for frame in frames[n_done:])):
        pass
    return len(frames) - n_done


def _labelled(frame: Frame, calculator: Callable[[], Any]) -> Frame:
    atoms = to_ase(frame.structure)
    atoms.calc = calculator()
    atoms.get_potential_energy()
    atoms.get_forces()
    if atoms.pbc.all() and "stress" in atoms.calc.implemented_properties:
        atoms.get_stress()
    return dataclasses.replace(frame, labels=labels_of_crystal_or_molecule(atoms))
