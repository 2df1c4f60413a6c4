"""Named sets of moment invariants: hop13 and its truncations, hop14, flex15, full20, and generated ones.

Which set distinguishes what is measured by `jorbit.basis.rank`: hop13 has full rank at generic points and loses rank
where v or Q vanish; flex15 keeps it on every stratum.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.contractions import Contraction, enumerate_contractions, evaluate
from jorbit.basis.moments import n_components
from jorbit.basis.shared_products import SharedProducts, dot
from jorbit.core.errors import ConfigError

# Index pattern -> the same number from shared products. The order is that of columns: tensors, then degree.
_HOP13: dict[str, Callable[[SharedProducts], Array]] = {
    "": lambda m: m.s,
    "i,i": lambda m: dot(m.v, m.v),
    "ij,ij": lambda m: dot(m.Q, m.Q),
    "ijk,ijk": lambda m: dot(m.T, m.T),
    "ij,jk,ki": lambda m: dot(m.Q, m.a),
    "i,ij,j": lambda m: dot(m.v, m.c),
    "ij,ikl,jkl": lambda m: dot(m.Q, m.b),
    "i,ij,jk,k": lambda m: dot(m.c, m.c),
    "i,j,k,ijk": lambda m: dot(m.vv, m.d),
    "i,ijk,jkl,l": lambda m: dot(m.vv, m.b),
    "ij,jk,ilm,klm": lambda m: dot(m.a, m.b),
    "ij,ijk,ab,abk": lambda m: dot(m.e, m.e),
    "ijk,ijl,abk,abl": lambda m: dot(m.b, m.b),
}
_VQT: dict[str, Callable[[SharedProducts], Array]] = {"i,jk,ijk": lambda m: dot(m.v, m.e)}
_PURE_T: dict[str, Callable[[SharedProducts], Array]] = {
    "ijk,abj,abk,ilm,cdl,cdm": lambda m: dot(m.w, m.w),
    # T_ijk w_i w_j w_k, w_i = T_iab T_acd T_bcd: ten tensors
    "ijk,iab,acd,bcd,jef,egh,fgh,kpq,prs,qrs": lambda m: m.cubed(),
}
_REST_OF_20: dict[str, Callable[[SharedProducts], Array]] = {
    "i,jk,jl,ikl": lambda m: dot(m.a, m.d),
    "i,ij,kl,jkl": lambda m: dot(m.c, m.e),
    "i,ijk,jlm,klm": lambda m: dot(m.v, m.w),
    "ij,jk,kl,li": lambda m: dot(m.a, m.a),
    "ij,kl,ikm,jlm": lambda m: m.crossed(),
    "ijk,ilm,jln,kmn": lambda m: m.tetrahedron(),
}


@functools.cache
def _fused() -> dict[Contraction, Callable[[SharedProducts], Array]]:
    return {Contraction.parse(text): f for text, f in (_HOP13 | _VQT | _PURE_T | _REST_OF_20).items()}


@dataclasses.dataclass(frozen=True)
class InvariantSet:
    """Moments -> invariants under rotation and reflection. Frozen and hashable.

    Attributes:
        name: what the set is called.
        contractions: the graph behind each column.

    Example:
        >>> chosen = invariant_set("hop13")
        >>> chosen(jnp.zeros((5, 8, chosen.n_components))).shape  # 5 atoms, 8 channels
        (5, 8, 13)
    """

    name: str
    contractions: tuple[Contraction, ...]

    @property
    def size(self) -> int:
        """Number of invariants."""
        return len(self.contractions)

    @property
    def l_max(self) -> int:
        return max(c.l_max for c in self.contractions)

    @property
    def n_max(self) -> int:
        """Most tensors in a product; the body order is n_max + 1."""
        return max(c.order for c in self.contractions)

    @property
    def n_components(self) -> int:
        """(l_max + 1)^2, the components of the moments that the set reads."""
        return n_components(self.l_max)

    def __call__(self, moments: Float[Array, "*batch components"]) -> Float[Array, "*batch invariants"]:
        """All invariants. Components beyond l_max are ignored.

        Sets made by hand share intermediate products; other graphs are contracted two tensors at a time.

        Args:
            moments: independent components of l = 0, 1, .. of each atom and channel, see `jorbit.basis.moments`.
        """
        if moments.shape[-1] < self.n_components:
            raise ConfigError(
                f"The set {self.name} reads moments up to l = {self.l_max}, {self.n_components} components in the "
                f"last axis; got {moments.shape[-1]}."
            )
        # One split, whose reverse is one concatenation; indexing would add up padded copies of all components.
        parts = jax.lax.split(moments[..., : self.n_components], (1,) * self.n_components, axis=moments.ndim - 1)
        return jnp.stack(self.columns([x.squeeze(-1) for x in parts]), axis=-1)

    def columns(self, components: Sequence[Array]) -> list[Array]:
        """The same for components that come as separate arrays, element by element: one array per invariant."""
        known = _fused()
        shared = SharedProducts(components)
        rest = [c for c in self.contractions if c not in known]
        others = jnp.stack(components[: self.n_components], axis=-1) if rest else None
        values = {} if others is None else dict(zip(rest, jnp.moveaxis(evaluate(rest, others), -1, 0), strict=True))
        return [known[c](shared) if c in known else values[c] for c in self.contractions]


def _made_by_hand(name: str, *tables: dict[str, Callable[[SharedProducts], Array]]) -> InvariantSet:
    return InvariantSet(name, tuple(Contraction.parse(text) for table in tables for text in table))


@functools.cache
def hop13(n_max: int = 4, l_max: int = 3) -> InvariantSet:
    """The invariants of HIP-HOP-NN: 13 at n_max = 4, l_max = 3, fewer when truncated.

    Example:
        >>> [hop13(n, l).size for n, l in ((4, 3), (4, 2), (3, 3), (3, 2), (2, 3), (2, 2), (2, 1), (1, 0))]
        [13, 6, 7, 5, 4, 3, 2, 1]

    References:
        arXiv:2503.21939; the list is that of the authors' code, github.com/lanl/hippynn.
    """
    full = _made_by_hand("hop13", _HOP13)
    kept = tuple(c for c in full.contractions if c.order <= n_max and c.l_max <= l_max)
    if not kept or n_max > 4 or l_max > 3:
        raise ConfigError(
            f"hop13 has products of n = 1 to 4 moments of l = 0 to 3, asked for n_max={n_max}, l_max={l_max}."
        )
    return full if kept == full.contractions else InvariantSet(f"hop13:{n_max},{l_max}", kept)


@functools.cache
def hop14() -> InvariantSet:
    """hop13 and v_i Q_jk T_ijk, the only connected product of up to three moments of l <= 3 that hop13 lacks."""
    return _made_by_hand("hop14", _HOP13, _VQT)


@functools.cache
def flex15() -> InvariantSet:
    """hop13 and two invariants of T alone, of degree 6 and 10: full rank whichever of v, Q, T vanish."""
    return _made_by_hand("flex15", _HOP13, _PURE_T)


@functools.cache
def full20() -> InvariantSet:
    """All 20 connected products of up to four moments of l <= 3."""
    return _made_by_hand("full20", _HOP13, _VQT, _REST_OF_20)


@functools.cache
def generated(n_max: int, l_max: int) -> InvariantSet:
    """All connected contraction graphs up to n_max tensors of degree up to l_max.

    Example:
        >>> generated(4, 4).size
        51
    """
    if n_max > 6 or l_max > 6:
        raise ConfigError(
            f"Graphs are generated for up to 6 tensors of l <= 6, asked for n_max={n_max}, l_max={l_max}."
        )
    return InvariantSet(f"generated:{n_max},{l_max}", enumerate_contractions(n_max, l_max))


_SETS: dict[str, Callable[..., InvariantSet]] = {
    "hop13": hop13,
    "hop14": hop14,
    "flex15": flex15,
    "full20": full20,
    "generated": generated,
}


def invariant_set(name: str) -> InvariantSet:
    """A set by name: "hop13", "hop13:3,2" (n_max, l_max), "hop14", "flex15", "full20", "generated:5,4".

    Raises:
        ConfigError: no such set.

    Example:
        >>> invariant_set("hop13:3,2").size
        5
    """
    match = re.fullmatch(r"(\w+?)(?:[:(]\s*(?:n_max=)?(\d+)\s*,\s*(?:l_max=)?(\d+)\s*\)?)?", name.strip())
    sizes = [int(k) for k in match.groups()[1:] if k] if match else []
    takes = {"hop13": (0, 2), "generated": (2,)}.get(match[1], (0,)) if match else ()
    if match is None or match[1] not in _SETS or len(sizes) not in takes:
        raise ConfigError(
            f"There is no set of moment invariants called {name!r}. Known: hop13, hop13:n_max,l_max, hop14, flex15, "
            "full20, generated:n_max,l_max."
        )
    return _SETS[match[1]](*sizes)
