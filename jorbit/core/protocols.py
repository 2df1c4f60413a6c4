"""The contracts between the rooms: what a descriptor, a term, a loss and a data set must offer."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.structure import Frame, Structure

Params = Any  # a tree of arrays


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a component asks of a graph.

    Attributes:
        cutoff: radius of the neighbourhood in Å, or None when it needs no neighbours.
        inner: shorter cutoffs, Å, of parts that look less far. A graph may hold neighbourhoods of theirs; where it does
            not, the component takes what it needs from the longer one.
        upstream: names of AtomOutputs fields that earlier terms must fill, such as ("charges",).
        float64: positions must be float64; `predict` sees to it.
        layers: messages one after the other: the energy of an atom depends on atoms within layers * cutoff, and on no
            others. None: on every atom of the structure, however far.
    """

    cutoff: float | None = None
    inner: tuple[float, ...] = ()
    upstream: tuple[str, ...] = ()
    float64: bool = False
    layers: int | None = 1


@dataclasses.dataclass(frozen=True)
class Capacity:
    """Static sizes of a padded graph. One compilation per distinct capacity.

    Attributes:
        n_atoms: padded number of atoms.
        n_structures: padded number of structures.
        n_slots: neighbour slots per atom, one number per cutoff, in the order of the cutoffs.
    """

    n_atoms: int
    n_structures: int
    n_slots: tuple[int, ...]


@runtime_checkable
class Descriptor(Protocol):
    """Graph -> invariant features of each atom. A frozen dataclass; pure."""

    @property
    def n_features(self) -> int: ...

    @property
    def needs(self) -> Needs: ...

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]: ...


@runtime_checkable
class Term(Protocol):
    """A contribution to the energy: models and physics alike. Frozen and hashable."""

    @property
    def needs(self) -> Needs: ...

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params: ...

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs: ...


@runtime_checkable
class ChecksStructures(Protocol):
    """A term, or the descriptor of a term, that is not for every structure: `check_structure` raises for the others.

    Some know one system only: these atoms in this order. Some sum over long distances, up to a longest lattice vector;
    they have `is_long_range = True`.
    """

    def check_structure(self, structure: Structure) -> None: ...


@runtime_checkable
class SystemTerm(Term, ChecksStructures, Protocol):
    """A term that knows one system only: these atoms in this order. `check_structure` raises for any other."""


@runtime_checkable
class CalibratedTerm(Term, Protocol):
    """A term with constants that come from the training data, such as means of features, before it is trained.

    `fixed_parameters` are patterns of the paths that training leaves alone ("constants/*"). `calibrate` gets graphs
    with the labels that are to be learned (reference energies are subtracted) and returns other parameters. Of large
    sets it gets a part, which is enough for means; a class attribute `calibrated_on_all = True` asks for everything.
    """

    @property
    def fixed_parameters(self) -> tuple[str, ...]: ...

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params: ...


@runtime_checkable
class LinearTerm(Term, Protocol):
    """A term whose energy is linear in its parameters: fitted by one solve.

    `design(graph)` returns, per structure, the rows whose product with the flat parameter vector is the energy, the
    forces and the strain derivative dE/dε (not divided by the volume).
    """

    @property
    def n_parameters(self) -> int: ...

    def design(self, graph: Graph) -> "DesignRows": ...

    def unflatten(self, vector: Any) -> Params: ...

    def prior_scale(self) -> Any: ...


@runtime_checkable
class KernelTerm(Term, Protocol):
    """A Gaussian process of atomic energies through sparse points: E_i = sum over points s of alpha_s k_is.

    `params` hold "points", "species" (what a point is of) and "coefficients". `candidates` gives what points are chosen
    from, what each is of, and which of them are there; `sampling` names the usual way to choose.
    """

    @property
    def n_points(self) -> int: ...

    @property
    def sampling(self) -> str: ...

    @property
    def resolution(self) -> float | None: ...

    def candidates(self, graph: Graph) -> tuple[Any, Any, Any]: ...

    def with_points(self, points: Any, species: Any) -> tuple[Any, Params]: ...

    def gram(self, params: Params) -> Any: ...

    def atom_rows(self, params: Params, graph: Graph) -> Any: ...

    def own_covariance(self, params: Params, graph: Graph) -> Any: ...

    def design(self, params: Params, graph: Graph) -> "DesignRows": ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DesignRows:
    """Rows of the linear system for ONE structure (padding included), parameters last.

    Attributes:
        energy: [parameters].
        forces: [atoms, 3, parameters]: minus the derivative with respect to positions.
        virial: [3, 3, parameters]: derivative with respect to strain.
    """

    energy: Any
    forces: Any
    virial: Any


@runtime_checkable
class OrbitReference(Protocol):
    """The structure that the orbits of a model belong to: it labels the atoms of other structures.

    `assign` returns the orbit of each atom within its element, or raises an OrbitError when the structure is not made
    of whole copies of the reference. `holds` says, quickly, whether these labels still fit; `counts` how many atoms of
    each (element, orbit) one copy has.
    """

    @property
    def counts(self) -> dict[tuple[int, int], int]: ...

    def assign(self, structure: Structure) -> Any: ...

    def holds(self, structure: Structure) -> bool: ...


@runtime_checkable
class Loss(Protocol):
    """Scalar misfit of a prediction; 0 at perfection; ignores padding and weight 0 exactly."""

    def __call__(self, prediction: Any, labels: Any, graph: Graph) -> Float[Array, ""]: ...


@runtime_checkable
class Dataset(Protocol):
    """A named, citable sequence of frames in a deterministic order."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def __iter__(self) -> Iterator[Frame]: ...
