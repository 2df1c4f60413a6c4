"""The atomic basis A_(z n l m) = sum over neighbours j of species z of R_n(r_ij) Y_lm(r̂_ij)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.product_space import ProductSpace
from jorbit.basis.radial import RadialBasis
from jorbit.core.errors import ConfigError
from jorbit.core.ops import safe_divide, safe_norm


@dataclasses.dataclass(frozen=True)
class AtomicBasis:
    """Neighbour densities of each atom.

    Attributes:
        radial: radial functions.
        l_max: highest degree of the spherical harmonics.
        n_species: rows of the species table.
        channel_of: channel of each neighbour species, from 0 on; None = a channel of its own for each.
    """

    radial: RadialBasis
    l_max: int
    n_species: int
    channel_of: tuple[int, ...] | None = None

    @property
    def n_channels(self) -> int:
        """Kinds of neighbours that densities tell apart.

        Raises:
            ConfigError: `channel_of` does not name the channels 0, 1, ... of every species.
        """
        if self.channel_of is None:
            return self.n_species
        n_channels = max(self.channel_of, default=-1) + 1
        if len(self.channel_of) != self.n_species or set(self.channel_of) != set(range(n_channels)):
            raise ConfigError(
                f"Wanted a channel 0, 1, ... for each of the {self.n_species} species, got {self.channel_of}."
            )
        return n_channels

    def pair_functions(
        self,
        vectors: Float[Array, "*batch 3"],
        species_i: Int[Array, "*#batch"],
        species_j: Int[Array, "*#batch"],
    ) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch lm"]]:
        """R_n(r) and Y_lm(r̂) of pair vectors (Å). Zero and finite at coinciding atoms and beyond the cutoff."""
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        bonds = self.radial.pair_bond_lengths(self.n_species)
        if (bonds == bonds[0, 0]).all():
            values = self.radial(r, float(bonds[0, 0]))
        else:
            values = self.radial(r, jnp.asarray(bonds, r.dtype)[species_i, species_j])
        return values, real_spherical_harmonics(unit, self.l_max)

    def channels(
        self, species_j: Int[Array, "*batch"], mask: Bool[Array, "*batch"], dtype: jnp.dtype
    ) -> Float[Array, "*batch channels"]:
        """1 where the neighbour exists and is of the channel, else 0."""
        channel = species_j if self.channel_of is None else jnp.asarray(self.channel_of, jnp.int32)[species_j]
        return jnp.where(mask[..., None], jax.nn.one_hot(channel, self.n_channels, dtype=dtype), 0.0)

    def __call__(
        self,
        vectors: Float[Array, "atoms slots 3"],
        species_i: Int[Array, " atoms"],
        species_j: Int[Array, "atoms slots"],
        mask: Bool[Array, "atoms slots"],
        space: ProductSpace,
    ) -> list[Float[Array, "_ _ atoms"]]:
        """A_l [2l + 1, rows, atoms] for l = 0 .. l_max, with the rows that `space` uses.

        One matrix product per atom, [columns, slots] @ [slots, lm], over the radial functions and channels that any
        degree uses; no scatter. A product per degree would leave out the corners that only some degrees use, and takes
        longer.
        """
        radial, angular = self.pair_functions(vectors, species_i[:, None], species_j)
        weights = self.channels(species_j, mask, vectors.dtype)
        weighted = (radial[..., :, None] * weights[..., None, :]).reshape(*mask.shape, -1)
        columns = used_columns(space, self.n_channels)
        if len(columns) < weighted.shape[-1]:
            weighted = weighted[..., columns]
        density = jnp.einsum("asc,asl->lca", weighted, angular)
        return split_degrees(density, space, self.n_channels)

    def tangents(
        self,
        vectors: Float[Array, "slots 3"],
        species_i: Int[Array, ""],
        species_j: Int[Array, " slots"],
        mask: Bool[Array, " slots"],
        space: ProductSpace,
    ) -> list[Float[Array, "_ _ _"]]:
        """dA_l / d vectors of ONE atom, directions = slots * 3 (a slot moves only its own term of the sum)."""
        columns = used_columns(space, self.n_channels)

        def term(vector: Array, species: Array, present: Array) -> Array:
            radial, angular = self.pair_functions(vector, species_i, species)
            weights = self.channels(species, present, vectors.dtype)
            return angular[:, None] * (radial[:, None] * weights[None, :]).reshape(1, -1)[:, columns]

        jacobian = jax.vmap(jax.jacfwd(term))(vectors, species_j, mask)  # [slots, lm, channels, 3]
        jacobian = jnp.moveaxis(jacobian, 0, 2)
        return split_degrees(jacobian.reshape(*jacobian.shape[:2], -1), space, self.n_channels)


def used_columns(space: ProductSpace, n_channels: int) -> Int[np.ndarray, " columns"]:
    """Which of the n * channels products of radial function and channel any degree uses, ascending."""
    return np.unique(np.concatenate([rows[:, 0] * n_channels + rows[:, 1] for rows in space.rows]))


def split_degrees(density: Float[Array, "lm columns k"], space: ProductSpace, n_channels: int) -> list[Array]:
    """Cut densities of the used columns into one array per degree, keeping the rows a product space uses."""
    columns = used_columns(space, n_channels)
    return [
        density[l * l : (l + 1) ** 2][:, np.searchsorted(columns, rows[:, 0] * n_channels + rows[:, 1])]
        for l, rows in enumerate(space.rows)
    ]
