"""Contract checks and small named systems, public so that extensions test themselves with what jorbit uses."""

from jorbit.testing.degenerate import DegeneratePair, degenerate_pairs, equidistant_environment, several_preimages
from jorbit.testing.descriptor_contract import DESCRIPTOR_CHECKS, DescriptorCase, check_descriptor, descriptor_case
from jorbit.testing.finite_difference import (
    finite_difference,
    finite_difference_forces,
    finite_difference_virial,
)
from jorbit.testing.loss_contract import LOSS_CHECKS, check_loss
from jorbit.testing.requirements import ContractError
from jorbit.testing.system_contract import SYSTEM_CHECKS
from jorbit.testing.term_contract import TERM_CHECKS, TermCase, check_term, term_case

__all__ = [
    "DESCRIPTOR_CHECKS",
    "LOSS_CHECKS",
    "SYSTEM_CHECKS",
    "TERM_CHECKS",
    "ContractError",
    "DegeneratePair",
    "DescriptorCase",
    "TermCase",
    "check_descriptor",
    "check_loss",
    "check_term",
    "degenerate_pairs",
    "descriptor_case",
    "equidistant_environment",
    "finite_difference",
    "finite_difference_forces",
    "finite_difference_virial",
    "several_preimages",
    "term_case",
]
