"""Every registered model and physics term keeps its contract."""

import functools

import pytest

from jorbit.models import MODELS
from jorbit.terms import TERMS
from jorbit.testing import TERM_CHECKS, TermCase, term_case

COMPONENTS = {f"{registry.kind}:{name}": (registry, name) for registry in (MODELS, TERMS) for name in registry}


@functools.cache
def case(component: str) -> TermCase:
    """One case per component and process: its compiled functions are shared by the checks."""
    registry, name = COMPONENTS[component]
    return term_case(registry.load(name))


@pytest.mark.parametrize("check", TERM_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("component", [pytest.param(c, marks=pytest.mark.xdist_group(c)) for c in COMPONENTS])
def test(component, check, x64):
    check(case(component))
