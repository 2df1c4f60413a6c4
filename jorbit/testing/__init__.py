"""Contract checks and small named systems, public so that extensions test themselves with what jorbit uses."""

from jorbit.testing.finite_difference import (
    finite_difference,
    finite_difference_forces,
    finite_difference_virial,
)
from jorbit.testing.requirements import ContractError
from jorbit.testing.term_contract import TERM_CHECKS, TermCase, check_term, term_case

__all__ = [
    "TERM_CHECKS",
    "ContractError",
    "TermCase",
    "check_term",
    "finite_difference",
    "finite_difference_forces",
    "finite_difference_virial",
    "term_case",
]
