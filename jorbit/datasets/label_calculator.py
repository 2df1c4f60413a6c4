"""Reference labels from any ASE calculator; written frame by frame, so that a killed run goes on where it stopped."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Frame
from jorbit.datasets.extxyz import format_frame, iter_extxyz
from jorbit.datasets.label import same_geometry, truncate_to_whole_frames
from jorbit.graphs.ase_atoms import labels_from_calculator, to_ase


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
    truncate_to_whole_frames(output)
    done = list(iter_extxyz(output)) if output.exists() and output.stat().st_size else []
    if len(done) > len(frames) or not all(same_geometry(a, b) for a, b in zip(done, frames, strict=False)):
        raise DataError(f"{output} holds other structures than {source}. Name another output, or remove it.")
    with open(output, "a", encoding="utf-8") as stream:
        for frame in frames[len(done) :]:
            stream.write(format_frame(_labelled(frame, calculator)))
            stream.flush()
            os.fsync(stream.fileno())
    return len(frames) - len(done)


def _labelled(frame: Frame, calculator: Callable[[], Any]) -> Frame:
    atoms = to_ase(frame.structure)
    atoms.calc = calculator()
    atoms.get_potential_energy()
    atoms.get_forces()
    labels = labels_from_calculator(atoms)
    if not frame.structure.pbc.all():
        labels = dataclasses.replace(labels, stress=None)
    return dataclasses.replace(frame, labels=labels)
