"""Freed memory is used again: compiled calls fault in no new pages, unless the user wants it otherwise."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
{before}

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def call():
    b"x" * (48 * 2**20)  # above what glibc keeps by itself

call()
start = faults()
for _ in range(5):
    call()
print((faults() - start) / 5)
"""
PAGES = 48 * 2**20 / 4096

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def faults_per_call(before: str, **variables: str) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JORBIT_KEEP", "MALLOC_"))} | variables
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@glibc
def test_blocks_are_used_again_after_an_import():
    assert faults_per_call("import jorbit") < 0.02 * PAGES


@glibc
@pytest.mark.parametrize("variable", ["JORBIT_KEEP_FREED_MEMORY", "MALLOC_TRIM_THRESHOLD_"])
def test_the_allocator_is_left_alone_when_the_user_says_so(variable):
    value = "0" if variable.startswith("JORBIT") else "131072"
    before = "from jorbit.core.freed_memory import keep_freed_memory\nassert not keep_freed_memory()"
    assert faults_per_call(before, **{variable: value}) > 0.9 * PAGES
