"""The text of an xyz file: opened, cut into frames and checked line by line, before anything interprets it."""

import bz2
import dataclasses
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jorbit.core.errors import DataError

_OPENERS = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_PROPERTIES = re.compile(r"(?:^|\s)Properties\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")
# Keys that have a meaning of their own, however they are spelt: one that is not known would be passed over in silence.
_SPELLINGS = {"properties": "Properties", "lattice": "Lattice", "pbc": "pbc"}
_KEYS = re.compile(rf"(?:^|(?<=\s))({'|'.join(_SPELLINGS)})(?=\s*=)", re.IGNORECASE)
PLAIN_COLUMNS = 4  # element and position, when the header names no columns


@dataclasses.dataclass(frozen=True)
class FrameText:
    """One frame as it stands in the file: `index` counts frames from 0, `line` is its first line, from 1."""

    index: int
    line: int
    lines: tuple[str, ...]


def open_text(path: Path, mode: str = "rt") -> io.TextIOWrapper:
    """Open a text file, compressed or not, by its suffix."""
    opener: Any = _OPENERS.get(path.suffix.lower(), open)
    return opener(path, mode, encoding="utf-8-sig" if mode.startswith("r") else "utf-8")  # some editors mark UTF-8


def split_frames(path: Path) -> Iterator[FrameText]:
    """The frames of an xyz file one after the other; reads once, front to back.

    Raises:
        DataError: a count line that is no count, a frame that ends early, a row with missing or extra columns, a
            damaged compressed file. The message names file, frame and line.
    """
    try:
        with open_text(path) as stream:
            yield from _split(stream, path)
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
        raise DataError(f"{path} cannot be read to its end ({error}). Is the file truncated? Copy it again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text ({error}): wanted an xyz file.") from error


def _split(stream: io.TextIOWrapper, path: Path) -> Iterator[FrameText]:
    index, number = 0, 0
    for line in stream:
        number += 1
        if not line.strip():
            continue
        start = number
        try:
            n_atoms = int(line)
        except ValueError:
            raise DataError(
                f"{path}, frame {index}, line {start}: wanted the number of atoms alone on the line, got "
                f"{line.strip()[:60]!r}. Does the frame before have more rows than it announces?"
            ) from None
        if n_atoms < 1:
            raise DataError(f"{path}, frame {index}, line {start}: wanted at least one atom, got {n_atoms}.")
        lines = [line]
        for _ in range(n_atoms + 1):
            row = next(stream, None)
            if row is None:
                raise DataError(
                    f"{path}, frame {index} (from line {start}): the file ends after {max(len(lines) - 2, 0)} of "
                    f"{n_atoms} atoms. It is truncated: remove the last frame or copy the file again."
                )
            number += 1
            lines.append(row)
        lines[1] = _KEYS.sub(lambda key: _SPELLINGS[key[0].lower()], lines[1])
        _check_columns(lines, path, index, start)
        yield FrameText(index, start, tuple(lines))
        index += 1


def _check_columns(lines: list[str], path: Path, index: int, start: int) -> None:
    found = _PROPERTIES.search(lines[1])
    wanted = PLAIN_COLUMNS
    if found:
        parts = next(group for group in found.groups() if group is not None).split(":")
        try:
            wanted = sum(int(count) for count in parts[2::3])
        except ValueError:
            wanted = -1
        if wanted < PLAIN_COLUMNS or len(parts) % 3:
            raise DataError(
                f"{path}, frame {index}, line {start + 1}: wanted Properties=name:type:columns:..., got "
                f"{':'.join(parts)!r}."
            )
    for row, line in enumerate(lines[2:]):
        n_columns = len(line.split())
        if n_columns < wanted or (found and n_columns != wanted):
            raise DataError(
                f"{path}, frame {index}, line {start + 2 + row}: wanted {wanted} columns for atom {row}, got "
                f"{n_columns}: {line.strip()[:80]!r}."
            )
