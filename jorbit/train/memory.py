"""How much memory a computation may take."""

import contextlib
import os
from pathlib import Path

GIB = 2.0**30
_RESERVE = 0.8  # of what is free: other programs need some


def available_memory() -> float:
    """Bytes that this process can still use, from the operating system and the limits of a container; infinite if
    neither says.

    Example:
        >>> available_memory() > 0
        True
    """
    found = [float("inf")]
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                found.append(1024.0 * float(line.split()[1]))
    if len(found) == 1:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append(float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(max(limit - used, 0.0))
    return min(found)


def memory_budget(gigabytes: float | None) -> float:
    """Bytes: what was asked for (in GiB), or four fifths of what is free."""
    return _RESERVE * available_memory() if gigabytes is None else gigabytes * GIB
