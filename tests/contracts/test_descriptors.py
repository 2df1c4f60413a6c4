"""Every registered descriptor keeps its contract."""

import functools

import pytest

from jorbit.descriptors import DESCRIPTORS
from jorbit.testing import DESCRIPTOR_CHECKS, DescriptorCase, descriptor_case


def marks_of(name: str) -> list:
    """Sums over waves are long to compile."""
    return [pytest.mark.xdist_group(f"descriptor {name}"), *([pytest.mark.slow] if name == "lode" else [])]


@functools.cache
def case(name: str) -> DescriptorCase:
    """One case per descriptor and process: its compiled functions are shared by the checks."""
    return descriptor_case(DESCRIPTORS.load(name))


@pytest.mark.parametrize("check", DESCRIPTOR_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", [pytest.param(n, marks=marks_of(n)) for n in DESCRIPTORS])
def test(name, check, x64):
    check(case(name))
