"""Sums of terms, their derivatives, and the files they are kept in."""

from jorbit.potential.derivatives import hessian, hessian_vector_product
from jorbit.potential.potential import Potential
from jorbit.potential.predict import predict

__all__ = ["Potential", "hessian", "hessian_vector_product", "predict"]
