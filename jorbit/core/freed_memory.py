"""Freed memory stays with the process on Linux CPUs, where asking for it again costs a third of some force calls.

XLA asks for one block for all temporaries of a call and frees it at the end. glibc hands blocks above 32 MiB back to
the kernel, and the next call pays for every page of them again: 14,000 page faults in a call of HIP-HOP-NN on 1000
atoms. Blocks up to `LARGEST` are kept here and used again. Larger ones come and go as before: the heaps of threads hold
64 MiB, one heap for all threads made MACE a fifth slower, and large matrices should not leave holes in a heap.
"""

import ctypes
import os
import sys

LARGEST = 2**26  # bytes of a block that is kept
MOST = 2**29  # bytes of free memory at the end of a heap above which it goes back
SWITCH = "JORBIT_KEEP_FREED_MEMORY"  # "0" leaves the allocator alone
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_OWN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed blocks; whether it was told.

    Nothing is done where the C library is another one, where `JORBIT_KEEP_FREED_MEMORY` is 0, or where variables of
    the environment say already how memory is to be handled.

    References:
        mallopt(3), Linux man-pages.
    """
    if not sys.platform.startswith("linux") or os.environ.get(SWITCH) == "0" or any(map(os.environ.get, _OWN)):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, LARGEST)) and bool(library.mallopt(_TRIM_THRESHOLD, MOST))
