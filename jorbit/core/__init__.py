"""The words everyone speaks: structures, graphs, outputs, contracts. Needs jax, numpy and jaxtyping only."""
