"""One layer of equivariant messages and products, a pure function of single atoms: the inside of MACE."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.moments import degree_slice
from jorbit.basis.radial import transformed_distance
from jorbit.basis.radial_network import hidden_units, normalized_silu, radial_inputs
from jorbit.basis.symmetric_contraction import contraction_paths, symmetric_contraction
from jorbit.basis.tensor_messages import message_paths, neighbor_messages, species_messages

Weights = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """What a layer is made of.

    Attributes:
        n_species, cutoff, channels, l_max, correlation, n_bessel, power, density, transform: those of the
            model.
        l_in: highest degree of the features that come in.
        l_out: of those that go out.
        residual: add the input features, transformed for each species.
    """

    n_species: int
    cutoff: float
    channels: int
    l_in: int
    l_out: int
    l_max: int
    correlation: int
    n_bessel: int
    power: int
    residual: bool
    density: bool
    transform: tuple[float, float, float] | None

    @property
    def message_paths(self) -> tuple[tuple[int, int, int], ...]:
        return message_paths(self.l_in, self.l_max)

    def n_paths_to(self, degree: int) -> int:
        """How many messages are tensors of that degree."""
        return sum(path[2] == degree for path in self.message_paths)

    def products(self, degree: int) -> Any:
        return contraction_paths(self.l_max, self.correlation, degree)


def mix_degrees(
    features: Float[Array, "atoms lm channels_in"], kernels: dict[int, Array]
) -> Float[Array, "atoms lm channels_out"]:
    """A linear map of the channels for each degree, divided by the root of their number."""
    parts = [(features[:, degree_slice(l)] @ k) / math.sqrt(k.shape[0]) for l, k in kernels.items()]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def species_linear(
    x: Float[Array, "m atoms channels_in"], table: Float[Array, "species channels_in channels_out"], species: Array
) -> Float[Array, "m atoms channels_out"]:
    """x_i @ table[species_i], one species at a time: no matrix for every atom."""
    total = x @ table[0]
    if table.shape[0] == 1:
        return total

    def add(z: Int[Array, ""] | int, total: Array) -> Array:
        return jnp.where((species == z)[None, :, None], x @ table[z], total)

    if table.shape[0] > 8:
        step = jax.checkpoint(lambda total, z: (add(z, total), None))
        return jax.lax.scan(step, total, jnp.arange(1, table.shape[0]))[0]
    for z in range(1, table.shape[0]):
        total = add(z, total)
    return total


def atomic_basis(
    shape: LayerShape,
    weights: Weights,
    vectors: Float[Array, "atoms slots 3"],
    bond_lengths: Float[Array, "atoms slots"],
    species_j: Int[Array, "atoms slots"],
    neighbors: Float[Array, "atoms slots lm channels"] | None,
) -> list[Float[Array, "m atoms channels"]]:
    """A_l: messages summed over neighbours, mixed over paths and channels, divided by the number of neighbours."""
    r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
    harmonics = real_spherical_harmonics(vectors / r[..., None], shape.l_max)
    envelope = polynomial_cutoff(r, shape.cutoff, shape.power)
    number = weights["average"]
    x = r if shape.transform is None else transformed_distance(r, bond_lengths, shape.transform)
    inputs = radial_inputs(x, envelope, shape.cutoff, shape.n_bessel)
    if "units" in weights:
        functions = weights["units"](r)
    else:
        functions = hidden_units(inputs, weights["radial"])
    if shape.density:
        number = 1.0 + jnp.tanh((inputs @ weights["density"]) ** 2).sum(axis=1)[None, :, None]
    paths, last = shape.message_paths, weights["last"]
    n_functions, n_channels = last.shape[0], shape.channels
    functions = functions / math.sqrt(n_functions)
    if neighbors is None:
        n_slots, n_lm = harmonics.shape[1:]
        summed_first = shape.n_species * n_functions * n_lm * (n_slots + n_channels)
        if summed_first <= n_slots * n_channels * (n_functions * len(paths) + n_lm):
            chosen = None if shape.n_species == 1 else jax.nn.one_hot(species_j, shape.n_species, dtype=r.dtype)
            last = last.reshape(n_functions, len(paths), n_channels)
            messages = species_messages(functions, harmonics, chosen, last, weights["scalars"])
            return _mixed(shape, weights, messages, number)
    tensors = weights["scalars"][species_j][:, :, None, :] if neighbors is None else neighbors
    radial = (functions.reshape(-1, n_functions) @ last).reshape(*functions.shape[:2], len(paths), n_channels)
    return _mixed(shape, weights, neighbor_messages(radial, harmonics, tensors, paths), number)


def _mixed(shape: LayerShape, weights: Weights, messages: list[Array], number: Array) -> list[Array]:
    mixed = []
    for l in range(shape.l_max + 1):  # noqa: E741
        chosen = [m for path, m in zip(shape.message_paths, messages, strict=True) if path[2] == l]
        kernel = weights["mix"][l]
        together = chosen[0] if len(chosen) == 1 else jnp.concatenate(chosen, axis=-1)
        mixed.append((together @ kernel) / (number * math.sqrt(kernel.shape[0])))
    return mixed


def layer_features(
    shape: LayerShape,
    weights: Weights,
    vectors: Float[Array, "atoms slots 3"],
    bond_lengths: Float[Array, "atoms slots"],
    species_j: Int[Array, "atoms slots"],
    species: Int[Array, " atoms"],
    features: Float[Array, "atoms lm channels"],
    neighbors: Float[Array, "atoms slots lm channels"] | None = None,
) -> tuple[Float[Array, "atoms lm_out channels"], Float[Array, " atoms"]]:
    """New features of each atom, and what the layer's readout makes of them.

    Args:
        shape: see LayerShape.
        weights: radial, last, mix, products, update, skip, readout, average; scalars in a first layer; units, a
            function of distances in place of the hidden layers of `radial`.
        vectors: to the neighbours, Å; of length `cutoff` in empty slots.
        bond_lengths: of each pair, Å; used with `transform`.
        species_j: of the neighbours.
        species: of the atoms.
        features: of the atoms, all degrees in a row.
        neighbors: features of the neighbours, mixed; None in a first layer, whose features are scalars by species.
    """
    basis = atomic_basis(shape, weights, vectors, bond_lengths, species_j, neighbors)
    root = 1.0 / math.sqrt(shape.channels)
    if not shape.residual:
        basis = [root * species_linear(a, weights["skip"][l], species) for l, a in enumerate(basis)]
    out = []
    for l in range(shape.l_out + 1):  # noqa: E741
        coefficients = jnp.moveaxis(weights["products"][l][species], 1, 0)
        new = root * (symmetric_contraction(shape.products(l), basis, coefficients) @ weights["update"][l])
        if shape.residual and l <= shape.l_in:
            old = jnp.moveaxis(features[:, degree_slice(l)], 1, 0)
            new = new + root * species_linear(old, weights["skip"][l], species)
        out.append(jnp.moveaxis(new, 0, 1))
    together = out[0] if len(out) == 1 else jnp.concatenate(out, axis=1)
    return together, _readout(weights["readout"], together[:, 0])


def _readout(kernels: tuple[Array, ...], scalars: Float[Array, "atoms channels"]) -> Float[Array, " atoms"]:
    *hidden, last = kernels
    x = scalars
    for kernel in hidden:
        x = normalized_silu((x @ kernel) / math.sqrt(kernel.shape[0]))
    return (x @ last)[:, 0] / math.sqrt(last.shape[0])
