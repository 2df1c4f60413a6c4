"""What can be chosen about the search for orbits."""

import dataclasses

from jorbit.core.errors import ConfigError

MODES = ("auto", "bond", "distance", "species", "identity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrbitOptions:
    """Thresholds of the graph; the defaults fit covalent molecules, crystals, slabs and adsorbates.

    Attributes:
        mode: "auto": bonds inside molecules, distance classes inside and between what stays in place in a periodic
            system. "bond": bonds only. "distance": distance classes everywhere. "species": one orbit per element.
            "identity": one orbit per atom.
        level: rounds of colour refinement, 0 = elements; None = exact orbits.
        exact: resolve what refinement cannot tell apart; only looked at when level is None.
        gap: distances whose sorted means differ by more belong to different classes, Å; never less than four standard
            errors of the means.
        p_bond: a class of pairs is bonded when it is so in more than this fraction of all frames.
        f_cov: a pair is bonded in a frame when closer than f_cov times the sum of its covalent radii.
        rel_sigma: a class of distances is used when its median spread is below rel_sigma times its median distance.
        inter_sigma: fragments stay in place relative to each other when their distances spread by less, Å (or by less
            than rel_sigma times the nearest distance, up to 4 Å of it).
        rmax: distances beyond are not used, Å.
        max_frames: more frames than this are thinned evenly.
        n_blocks: blocks for standard errors.
        n_bootstraps: random subsets of 80 % of the frames on which the partition is tried again, besides the halves.
        seed: of the random subsets.
        max_branches: dead ends the exact search may meet before it gives up.
    """

    mode: str = "auto"
    level: int | None = None
    exact: bool = True
    gap: float = 0.10
    p_bond: float = 0.9
    f_cov: float = 1.25
    rel_sigma: float = 0.25
    inter_sigma: float = 0.5
    rmax: float | None = None
    max_frames: int = 1000
    n_blocks: int = 4
    n_bootstraps: int = 4
    seed: int = 0
    max_branches: int = 2000

    def check(self) -> "OrbitOptions":
        """Return self, or raise if a value makes no sense.

        Raises:
            ConfigError: names the option.
        """
        if self.mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}.")
        if self.level is not None and (isinstance(self.level, bool) or self.level < 0):
            raise ConfigError(f"level counts rounds of refinement: wanted 0, 1, 2, ... or None, got {self.level!r}.")
        for name in ("gap", "f_cov", "rel_sigma", "inter_sigma"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)!r}.")
        if not 0 < self.p_bond < 1:
            raise ConfigError(f"p_bond is a fraction of the frames between 0 and 1, got {self.p_bond!r}.")
        if self.rmax is not None and not self.rmax > 0:
            raise ConfigError(f"rmax must be a positive length in Å or None, got {self.rmax!r}.")
        for name, least in (("max_frames", 1), ("n_blocks", 2), ("n_bootstraps", 0), ("max_branches", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)!r}.")
        return self
