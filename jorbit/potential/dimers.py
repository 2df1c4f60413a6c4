"""Energies of two atoms alone: what a potential does where no data reach, and what keeps it safe there."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Params
from jorbit.core.structure import Labels, Structure
from jorbit.graphs.batching import build_graph, pad_labels
from jorbit.potential.potential import Potential
from jorbit.terms.repulsion import Repulsion


def dimer_curves(
    potential: Potential, params: Params, distances: Float[np.ndarray, " distances"]
) -> tuple[Float[np.ndarray, "species species distances"], Float[np.ndarray, "species species distances"]]:
    """Energies (eV) and slopes dE/dr (eV/Å) of two atoms of every pair of species, in float64.

    Args:
        potential, params: any sum of terms; orbits need not be assigned, every row of the table is a species here.
        distances: Å, positive.

    Returns:
        Energies and slopes; a negative slope is repulsion.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.zbl import ZBL
        >>> potential = Potential(terms=(ZBL(),), species=SpeciesTable.from_numbers([1, 8]))
        >>> energies, slopes = dimer_curves(potential, {"zbl": {}}, np.array([0.1, 0.5]))
        >>> energies.shape, bool((slopes < 0).all())
        ((2, 2, 2), True)
    """
    rows = potential.species.rows
    n, m = len(rows), len(distances)
    energies, slopes = np.zeros((n, n, m)), np.zeros((n, n, m))
    chosen = [(a, b) for a in range(n) for b in range(a, n)]
    with jax.enable_x64(True):
        compiled = jax.jit(lambda graph: _energies_and_slopes(potential, params, graph))
        pairs = [(a, b, k) for a, b in chosen for k in range(m)]
        for start in range(0, len(pairs), 256):  # one size: one compilation
            part = pairs[start : start + 256]
            filled = part + [part[-1]] * (256 - len(part))
            graph = build_graph(
                [_dimer(rows[a], rows[b], float(distances[k])) for a, b, k in filled],
                potential.species,
                potential.cutoffs,
                dtype=jnp.float64,
            )
            energy, slope = (np.asarray(x) for x in compiled(graph))
            for row, (a, b, k) in enumerate(part):
                energies[a, b, k] = energies[b, a, k] = energy[row]
                slopes[a, b, k] = slopes[b, a, k] = slope[row]
    return energies, slopes


def _energies_and_slopes(potential: Potential, params: Params, graph: Graph) -> tuple[Any, Any]:
    def energy(positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        each = potential.energy(params, dataclasses.replace(graph, positions=positions))
        return each.sum(), each

    gradient, each = jax.grad(energy, has_aux=True)(graph.positions)
    return each, gradient[1::2, 0]


def _dimer(first: tuple[int, int], second: tuple[int, int], distance: float) -> Structure:
    return Structure(
        positions=np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]),
        numbers=np.array([first[0], second[0]]),
        orbits=np.array([first[1], second[1]]),
    )


def secure(potential: Potential, params: Params) -> Params:
    """The parameters with every term that guards short distances made strong enough for the rest of the potential.

    A term takes part by a method `secured(params, numbers, slopes)`, as `jorbit.terms.repulsion.Repulsion` has. What a
    training does at its end; call it again after changing parameters by hand.

    Args:
        potential, params: a fitted potential.
    """
    result = dict(params)
    numbers = tuple(z for z, _ in potential.species.rows)
    names = potential.names
    for k, (name, term) in enumerate(zip(names, potential.terms, strict=True)):
        method: Any = getattr(term, "secured", None)
        if method is None:
            continue
        rest = tuple(t for i, t in enumerate(potential.terms) if i != k)
        if not rest:
            continue
        others = Potential(terms=rest, species=potential.species)
        left = [n for i, n in enumerate(names) if i != k]
        known = {new: result[old] for new, old in zip(others.names, left, strict=True)}
        result[name] = method(result[name], numbers, lambda r, p=others, q=known: dimer_curves(p, q, r)[1])
    return result


def guarded(
    potential: Potential, params: Params, structures: Sequence[Structure], **options: Any
) -> tuple[Potential, Params]:
    """The potential with a repulsion that acts only where atoms are closer than in any of these structures.

    On the structures themselves, and wherever atoms keep their distances, nothing changes. For kernel models, for
    models of other packages, and for those fitted without a term that keeps atoms apart.

    Args:
        potential, params: fitted.
        structures: what it was fitted to. Pairs of elements that never come within the cutoff there, and elements
            that are not there, repel where they are nearer than the sum of their covalent radii.
        options: of `jorbit.terms.repulsion.Repulsion`.

    Returns:
        Potential and parameters with one term more, made strong enough by `secure`.

    Raises:
        ConfigError: a potential with a repulsion that `secure` makes strong enough, or no structures.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential((LennardJones(),), SpeciesTable.from_numbers([18]))
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [2.9, 0, 0]]), numbers=np.array([18, 18]))
        >>> safe, params = guarded(argon, {"lennard_jones": {}}, [pair])
        >>> safe.names, round(float(params["repulsion"]["reach"][0, 0]), 2)
        (('lennard_jones', 'repulsion'), 2.9)
    """
    if any(hasattr(term, "secured") for term in potential.terms):  # a fixed one, such as ZBL, may be too weak
        raise ConfigError("The potential has a repulsion of this kind: call secure(potential, params) instead.")
    if not structures:
        raise ConfigError("Wanted the structures that the potential was fitted to, got none.")
    term = Repulsion(n_species=len(potential.species), **options)
    whole = Potential((*potential.terms, term), potential.species, orbits=potential.orbits)
    with jax.enable_x64(True):
        alone = Potential((term,), potential.species)
        known = potential.labelled(structures)
        graphs = [alone.graph(s, dtype="float64") for s in known]
        batches = [(g, pad_labels([Labels()], [s], g)) for s, g in zip(known, graphs, strict=True)]
        none = AtomOutputs(energy=jnp.zeros(batches[0][0].n_atoms))
        own = term.calibrate(term.init(jax.random.key(0), batches[0][0], none), batches)
    return whole, secure(whole, {**params, whole.names[-1]: own})


def guards_short_distances(potential: Potential) -> bool:
    """Whether a term keeps atoms apart where there were no data."""
    return any(getattr(term, "is_short_range", False) for term in potential.terms)
