"""The uncertainty of a fitted potential, from the report of its fit or from its training frames."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag, cholesky, solve_triangular

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame
from jorbit.graphs.batching import build_graph
from jorbit.potential.feature_rows import (
    FeatureRows,
    KernelRows,
    LastLayerRows,
    SpeciesRows,
    energy_row,
    linear_parameters,
    path_of,
)
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import LinearUncertainty, ProcessUncertainty
from jorbit.train.buckets import frame_capacities
from jorbit.train.design import FitWeights, is_linear
from jorbit.train.gap import GAPReport
from jorbit.train.metrics import evaluate
from jorbit.train.progress import Progress, reporting
from jorbit.train.report import FitReport

_LEAST_NOISE = 1e-6  # eV and eV/Å: a network that reproduces its training labels to the last digit is not certain


def fit_uncertainty(report: FitReport | GAPReport) -> LinearUncertainty | ProcessUncertainty:
    """The exact posterior variance of a closed-form fit, ready for model files and simulations.

    Energies and forces have the standard deviations of `report.posterior.predictive_std`, now inside compiled functions
    and with one for each atom.

    Args:
        report: what `jorbit.fit` or `jorbit.fit_gap` returned last.

    Example:
        >>> potential, params, report = jorbit.fit(frames)  # doctest: +SKIP
        >>> uncertainty = fit_uncertainty(report)  # doctest: +SKIP
    """
    if isinstance(report, GAPReport):
        return _process_uncertainty(report)
    problem, posterior = report.posterior.problem, report.posterior.coefficients
    rows = SpeciesRows.of(problem.potential, problem.references.directions)
    half = posterior.noise * np.asarray(posterior.factor.half_solve(np.eye(problem.n_parameters)))
    return _linear(problem.potential, rows, {}, half)


def _linear(potential: Potential, rows: FeatureRows, params: Params, half: np.ndarray) -> LinearUncertainty:
    one: Any = np.ones(())
    triangle: Any = np.linalg.qr(half, mode="r")  # the same |H x|, and half of it is zeros
    return LinearUncertainty(
        potential=potential, rows=rows, params=params, half=triangle, energy_scale=one, forces_scale=one
    )


def _process_uncertainty(report: GAPReport) -> ProcessUncertainty:
    posterior = report.posterior
    names = tuple(
        n for n, t in zip(posterior.potential.names, posterior.potential.terms, strict=True) if t in posterior.models
    )
    rows = KernelRows(names, posterior.whitening.sizes)
    whitening: list[Any] = [solve_triangular(f, np.eye(len(f)), lower=True) for f in posterior.whitening.factors]
    inverse: Any = block_diag(*whitening)
    deltas = np.array(posterior.scales.deltas, dtype=np.float64)
    points = {
        n: {k: np.asarray(p[k]) for k in ("points", "species")} for n, p in zip(names, posterior.params, strict=True)
    }
    return ProcessUncertainty(
        potential=posterior.potential,
        rows=rows,
        params=points,
        half=np.asarray(solve_triangular(posterior.triangle, inverse, trans=1)),
        prior_half=np.repeat(deltas, rows.sizes)[:, None] * inverse,
        deltas=deltas,
        energy_scale=np.ones(()),
        forces_scale=np.ones(()),
    )


def last_layer_uncertainty(
    potential: Potential,
    params: Params,
    frames: Sequence[Frame],
    *,
    parameters: Sequence[str] | None = None,
    use_forces: bool = True,
    progress: Progress = None,
) -> LinearUncertainty:
    """The posterior of the last layer of a network, whose features stay as they are.

    H^T H = (sum over labels k of x_k x_k^T / noise_k^2 + 1 / w^2)^-1 with x_k the derivative of a predicted energy or
    force component with respect to the parameters of the last layer, noise the root mean square errors on the frames,
    and w^2 the mean square of those parameters. Scales are rough until calibrated (`jorbit.train.calibration`).

    Args:
        potential: sum of terms.
        params: its trained parameters.
        frames: the training frames.
        parameters: patterns of paths ("readout/params/output*") of the last layer; found by trying when not given.
        use_forces: whether forces count as data.
        progress: None, True for a bar, or a function (stage, done, total).

    Raises:
        DataError: no frames with labels.
        ConfigError: energies are not linear in any parameter.

    References:
        Bigi, Chong, Ceriotti and Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024). They take energies alone and
        find both constants by calibration.
    """
    frames = list(frames)
    if not frames:
        raise DataError("The covariance of a last layer needs the training frames, and there are none.")
    structures = potential.labelled([f.structure for f in frames])
    capacities = frame_capacities(structures, potential.cutoffs)
    errors = evaluate(potential, params, frames)
    noise = [errors.energy_rmse, errors.force_rmse if use_forces else None]
    if noise == [None, None]:
        raise DataError("None of the frames has an energy or forces.")
    params = jax.tree.map(np.asarray, params)
    with jax.enable_x64(True), reporting(progress) as report:
        graphs = (
            build_graph(s, potential.species, potential.cutoffs, capacity=c, dtype=jnp.float64)
            for s, c in zip(structures, capacities, strict=True)
        )
        rows, precision = None, np.zeros((0, 0))
        for k, (graph, frame) in enumerate(zip(graphs, frames, strict=True)):
            if rows is None:
                rows = last_layer(potential, params, graph, parameters)
                vector = np.asarray(rows.vector(params), dtype=np.float64)
                precision = np.eye(len(vector)) / max(float(np.mean(vector**2)), 1e-12)
            n, labels = frame.structure.n_atoms, frame.labels
            if noise[0] is not None and labels.energy is not None and labels.energy_weight:
                x = np.asarray(_energy_row(rows, potential, params, graph))[None]
                precision += x.T @ x / max(noise[0], _LEAST_NOISE) ** 2
            known = np.broadcast_to(np.asarray(labels.forces_weight) > 0, n)
            if noise[1] is not None and labels.forces is not None and known.any():
                x = np.asarray(_force_rows(rows, potential, params, graph))[:n][known].reshape(3 * known.sum(), -1)
                precision += x.T @ x / max(noise[1], _LEAST_NOISE) ** 2
            report("last layer", k + 1, len(frames))
        if rows is None:
            raise DataError("The covariance of a last layer needs the training frames, and there are none.")
        half = solve_triangular(cholesky(precision, lower=True), np.eye(len(precision)), lower=True)
        return _linear(potential, rows, params, half)


def last_layer(
    potential: Potential, params: Params, graph: Any, patterns: Sequence[str] | None = None
) -> LastLayerRows:
    """The parameters of the last layer: those whose paths match, or those that are found to be linear."""
    leaves = [(path_of(p), leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(params)]
    if patterns is None:
        fixed = tuple(p for p, _ in leaves if any(fnmatchcase(p, pattern) for pattern in _fixed(potential)))
        return linear_parameters(potential, params, graph, fixed)
    found = [(p, int(np.size(leaf))) for p, leaf in leaves if any(fnmatchcase(p, pattern) for pattern in patterns)]
    if not found:
        raise ConfigError(f"None of the parameters {[p for p, _ in leaves]} matches {list(patterns)}.")
    return LastLayerRows(tuple(p for p, _ in found), tuple(n for _, n in found))


def _fixed(potential: Potential) -> list[str]:
    named = zip(potential.names, potential.terms, strict=True)
    return [f"{name}/{pattern}" for name, term in named for pattern in getattr(term, "fixed_parameters", ())]


_energy_row = counted_jit(energy_row, "energy row of a last layer", static_argnums=(0, 1))
_force_rows = counted_jit(
    lambda rows, potential, params, graph: rows.forces(potential, params, graph),
    "force rows of a last layer",
    static_argnums=(0, 1),
)


def uncertainty_of(
    potential: Potential,
    params: Params,
    frames: Sequence[Frame],
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = None,
) -> LinearUncertainty:
    """The uncertainty of a model that was fitted earlier: the posterior of a linear one, the last layer of a network.

    A linear fit is done again with the ridge and all weights of its provenance, which gives the posterior.

    Args:
        potential: sum of terms.
        params: its parameters.
        frames: the frames that it was fitted to.
        provenance: what the model file says about the fit.
        progress: None, True for a bar, or a function (stage, done, total).

    Raises:
        DataError: a linear model that does not come from these frames.
        ConfigError: a potential that is neither.
    """
    from jorbit.train.fit import fit

    learned = [n for n, t in zip(potential.names, potential.terms, strict=True) if is_linear(t)]
    if set(learned) <= {n for n in potential.names if n.startswith("reference_energy")}:
        return last_layer_uncertainty(potential, params, frames, progress=progress)
    notes = dict((provenance or {}).get("fit") or provenance or {})
    options: dict[str, Any] = {"prior": "bayes"}
    if "ridge" in notes:
        options = {"prior": "ridge", "ridge": notes["ridge"], "solver": notes.get("solver", "cholesky")}
        options["weights"] = FitWeights(**notes.get("weights", {}))
    fixed = {n: params[n] for n, t in zip(potential.names, potential.terms, strict=True) if not is_linear(t)}
    config = (provenance or {}).get("config") or {}
    options["reference_energies"] = (config.get("fit") or {}).get("reference_energies")
    options["orbit_weights"] = (config.get("orbits") or {}).get("weights")
    again = fit(frames, potential, **options, fixed_params=fixed, progress=progress)
    for name in learned:
        for mine, theirs in zip(jax.tree.leaves(again.params[name]), jax.tree.leaves(params[name]), strict=True):
            off = float(np.abs(np.asarray(mine) - np.asarray(theirs)).max(initial=0.0))
            if off > 1e-3 * max(float(np.abs(np.asarray(theirs)).max(initial=0.0)), 1e-9):
                raise DataError(
                    f"A fit of {name} to these {len(frames)} frames has other coefficients (by up to {off:.3g}): give "
                    "the very frames that the model was fitted to, or fit again with jorbit.fit and use its report."
                )
    made = fit_uncertainty(again.report)
    if not isinstance(made, LinearUncertainty):
        raise ConfigError("A linear fit must have a linear uncertainty.")
    return made
