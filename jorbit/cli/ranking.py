"""`jorbit rank`: is a set of invariants complete, independent, flexible?"""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jorbit.cli.console import out, start_jax
from jorbit.core.errors import ConfigError

if TYPE_CHECKING:
    from jorbit.basis.rank import RankReport


def rank(
    basis: Annotated[
        str,
        typer.Option(
            help="hop13, hop14, flex15, full20, hop13:n_max,l_max, generated:n_max,l_max, or a descriptor's name."
        ),
    ],
    strata: Annotated[
        bool, typer.Option("--strata", help="Print a row for every combination of non-zero moments.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Integers modulo a prime instead of float64 (sets of moment invariants).")
    ] = False,
    neighbors: Annotated[int, typer.Option(help="Neighbours in the random environments (descriptors).")] = 8,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the descriptor, name=value; may be repeated."),
    ] = None,
    points: Annotated[int, typer.Option(help="Random points.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the random points.")] = 0,
) -> None:
    """Test by rank what a set of invariants or a descriptor resolves, and what in it is superfluous.

    A set of moment invariants is complete when the rank of its Jacobian equals the degrees of freedom, independent when
    it equals the size, and flexible when it is complete whichever moments vanish. The features of a descriptor are
    differentiated with respect to the positions of random neighbours: complete means that all 3 N - 3 are resolved.
    With --strata the neighbours also form pairs, tetrahedra or octahedra, around which low moments vanish.

    A descriptor without -o is its smallest instance for one element; -o cutoff=5 -o n_species=2 make one of your own.

    Example: [bold]jorbit rank --basis hop14 --strata[/]
    """
    start_jax()
    report = _report(basis, exact, strata, neighbors, option or [], points, seed)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
        return
    console = out()
    console.print(_summary(report), soft_wrap=False)
    if strata and report.strata:
        console.print()
        console.print(_strata_table(report), soft_wrap=False)


def _report(
    basis: str, exact: bool, strata: bool, neighbors: int, options: list[str], points: int, seed: int
) -> "RankReport":
    from jorbit.basis.invariant_sets import invariant_set
    from jorbit.basis.rank import rank_report
    from jorbit.descriptors import DESCRIPTORS
    from jorbit.descriptors.rank import descriptor_report

    if points < 1:
        raise ConfigError(f"Wanted at least one random point, got --points {points}.")
    if basis in DESCRIPTORS:
        if exact:
            raise ConfigError("Radial functions of positions are no polynomials: leave --exact out for a descriptor.")
        descriptor = _descriptor(DESCRIPTORS.load(basis), options)
        return descriptor_report(basis, descriptor, n_neighbors=neighbors, strata=strata, points=points, seed=seed)
    try:
        chosen = invariant_set(basis)
    except ConfigError as error:
        raise ConfigError(f"{error} Or a descriptor: {', '.join(sorted(DESCRIPTORS))}.") from None
    if options:
        raise ConfigError("Options (-o) belong to descriptors; a set of moment invariants has its limits in its name.")
    return rank_report(chosen, points=points, seed=seed, exact=exact)


def _descriptor(cls: Any, options: list[str]) -> Any:
    """The smallest instance for one element, or one made with the options given."""
    if not options:
        return cls.tiny(1)
    known = {field.name for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {"n_species": 1} if "n_species" in known else {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise ConfigError(f"Wanted -o name=value with one of {', '.join(sorted(known))}; got -o {text}.")
        values[name] = _value(value)
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} cannot be made with these options: {error}.") from error


def _value(text: str) -> Any:
    """A number, list or word; lists become tuples, which can be hashed."""

    def frozen(x: Any) -> Any:
        return tuple(frozen(y) for y in x) if isinstance(x, list) else x

    try:
        return frozen(json.loads(text))
    except json.JSONDecodeError:
        return text


def _yes(value: bool | None) -> str:
    return "[dim]not asked[/]" if value is None else "[green]yes[/]" if value else "[yellow]no[/]"


def _summary(report: "RankReport") -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    how = "modulo a prime" if report.exact else "singular values in float64"
    where = "" if report.n_neighbors is None else f", positions of {report.n_neighbors} neighbours"
    for name, text in (
        ("basis", report.basis),
        ("size", str(report.size)),
        ("rank", f"{report.rank} ({how}{where})"),
        ("degrees of freedom", str(report.dof)),
        ("complete", _yes(report.complete)),
        ("independent", _yes(report.independent)),
        ("flexible", _yes(report.flexible)),
    ):
        grid.add_row(name, text)
    return grid


def _strata_table(report: "RankReport") -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("non-zero", "size", "rank", "degrees of freedom", "complete", "independent"):
        table.add_column(name, justify="left" if name == "non-zero" else "right")
    for s in report.strata:
        numbers = (str(s.size), str(s.rank), str(s.dof))
        table.add_row("s " + " ".join(s.nonzero), *numbers, _yes(s.complete), _yes(s.independent))
    return table
