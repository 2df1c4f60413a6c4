"""Files that are complete or not there at all; among them checkpoints, arrays and a JSON memory in one .safetensors.

A file is renamed into place; the sha256 of a checkpoint shows damage, and nothing is unpickled.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

UNREADABLE = (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError)
"""What `read_state` raises for a file that is damaged or something else."""


def pack_state(arrays: Mapping[str, np.ndarray], memory: Mapping[str, Any], header: str) -> bytes:
    """The contents of a file.

    Args:
        arrays: by name.
        memory: anything JSON can hold.
        header: name of the entry in the metadata; tells kinds of files apart.
    """
    text = json.dumps(dict(memory))
    entry = json.dumps({"memory": text, "sha256": _digest(text, arrays)})
    return safetensors.numpy.save(dict(arrays), metadata={header: entry})


def read_state(path: Path, header: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the memory of a file.

    Raises:
        OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError: damaged, or of another kind.
    """
    with safetensors.safe_open(path, framework="numpy") as file:
        entry = json.loads((file.metadata() or {})[header])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    if _digest(entry["memory"], arrays) != entry["sha256"]:
        raise ValueError("its contents do not match their sha256")
    return arrays, json.loads(entry["memory"])


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk and rename: after a crash the old file or the new one is there, whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # several processes may write beside each other
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
