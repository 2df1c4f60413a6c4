"""Every registered model and physics term keeps its contract."""

import functools

import pytest

from jorbit.models import MODELS
from jorbit.terms import TERMS
from jorbit.testing import SYSTEM_CHECKS, TERM_CHECKS, TermCase, term_case
from jorbit.testing.term_contract import knows_one_system

COMPONENTS = {f"{registry.kind}:{name}": (registry, name) for registry in (MODELS, TERMS) for name in registry}
# Long to compile: sums over waves within sums over atoms, and the larger networks.
SLOW = {"term:charge_equilibration", "term:ewald", "term:latent_ewald", "term:multipoles", "model:charges"}
SLOW |= {
    "model:ani",
    "model:gap",
    "model:hipnn",
    "model:dimenet",
    "model:hiphop",
    "model:nequip",
    "model:neuralil",
    "model:mace",
    "model:painn",
    "model:schnet",
    "model:three_body_gap",
}
ONE_SYSTEM = [c for c, (registry, name) in COMPONENTS.items() if knows_one_system(registry.load(name))]


def marks_of(component: str) -> list:
    return [pytest.mark.xdist_group(component), *([pytest.mark.slow] if component in SLOW else [])]


@functools.cache
def case(component: str) -> TermCase:
    """One case per component and process: its compiled functions are shared by the checks."""
    registry, name = COMPONENTS[component]
    return term_case(registry.load(name))


@pytest.mark.parametrize("check", TERM_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("component", [pytest.param(c, marks=marks_of(c)) for c in COMPONENTS if c not in ONE_SYSTEM])
def test(component, check, x64):
    check(case(component))


@pytest.mark.parametrize("check", SYSTEM_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("component", [pytest.param(c, marks=pytest.mark.xdist_group(c)) for c in ONE_SYSTEM])
def test_of_one_system(component, check, x64):
    check(case(component))
