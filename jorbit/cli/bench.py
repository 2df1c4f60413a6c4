"""`jorbit bench`: the benchmarks of a checkout by name, and one page of what they found."""

import difflib
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import Interrupted, check_writable, err, out
from jorbit.core.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Run the benchmarks of a checkout, and draw what they found.")

OUTPUT = Path("jorbit-bench")
FOLDER_HELP = "The folder benchmarks/ of a checkout (default: found from here, or JORBIT_BENCHMARKS)."
Folder = Annotated[Path | None, typer.Option("--benchmarks", metavar="FOLDER", help=FOLDER_HELP)]


@app.command(name="list")
def list_suites(benchmarks: Folder = None) -> None:
    """What can be run, how long it takes on two cores, and of when the oldest of its published rows is."""
    folder = _folder(benchmarks)
    console = out()
    for name, suite in _suites(folder).items():
        dates = [date for file in suite["results"] if (date := _measured(folder / "results" / file))]
        about = [suite["kind"], f"{suite['minutes']} minutes", f"measured {min(dates, default='never')}"]
        about += ["reads JORBIT_DATA"] if suite.get("data") else []
        about += [f"--peers: {', '.join(_peer_names(suite))}"] if "peers" in suite else []
        console.print(f"[bold]{name:14s}[/]{suite['what']}\n{'':14s}[dim]{', '.join(about)}[/]")


@app.command()
def run(
    names: Annotated[list[str], typer.Argument(help="Suites, as `jorbit bench list` names them.")],
    quick: Annotated[bool, typer.Option("--quick", help="A small part: does it run here?")] = False,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the results (one .json each).")] = OUTPUT,
    peers: Annotated[
        Path | None, typer.Option(help="Folder made by benchmarks/peers/setup.py: packages to compare with.")
    ] = None,
    arguments: Annotated[
        str | None, typer.Option("--arguments", help="What the script is given, instead of a complete run.")
    ] = None,
    benchmarks: Folder = None,
) -> None:
    r"""Run benchmarks; each writes one file of rows with versions, device, load, date and commit.

    Earlier rows of the same file in the output folder are kept or replaced one by one, so a stopped run loses the row
    it was at. Results go to --output and not to the published ones.

    A potential of your own (any ASE calculator): [bold]jorbit bench run calculator --arguments "--calculator
    mace.calculators:mace_mp acac:test_MD_300K"[/]

    Example: [bold]jorbit bench run neighbors rmd17 --quick[/]
    """
    folder = _folder(benchmarks)
    suites = _suites(folder)
    for name in names:
        if name not in suites:
            close = difflib.get_close_matches(name, suites, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"There is no benchmark {name!r}.{hint} Wanted: {', '.join(suites)}.")
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "results.json")
    environment = {**os.environ, "JORBIT_BENCH_RESULTS": str(output.absolute())}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder.parent), os.environ.get("PYTHONPATH"))))
    failed, console = [], err()
    for name in names:
        suite = suites[name]
        chosen = _arguments(name, suite, quick, arguments, peers)
        if chosen is None:
            failed.append(name)
            continue
        console.print(f"[bold]{name}[/]: {escape(suite['script'])} {escape(' '.join(chosen))}")
        begin = time.perf_counter()
        try:
            code = subprocess.run([sys.executable, str(folder / suite["script"]), *chosen], env=environment).returncode
        except KeyboardInterrupt as interrupt:
            raise Interrupted(f"Rows measured so far are in {output}.") from interrupt
        console.print(f"{name}: {'done' if code == 0 else f'exit code {code}'} in {time.perf_counter() - begin:.0f} s")
        if code:
            failed.append(name)
    console.print(f"Results: {output}. Draw them: jorbit bench report --results {output}")
    if failed:
        raise ConfigError(f"Not completed: {', '.join(failed)}. What each of them said stands above.")


@app.command()
def report(
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("benchmarks.html"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of results (default: the published ones of the checkout).")
    ] = None,
    benchmarks: Folder = None,
) -> None:
    """One page, with tables and figures, of all results in a folder; nothing is fetched from anywhere."""
    folder = _folder(benchmarks)
    source = results or folder / "results"
    files = sorted(source.glob("*.json"))
    if not files:
        raise ConfigError(f"There are no results (*.json) in {source}. Run some: jorbit bench run neighbors --quick")
    check_writable(output)
    from jorbit.report.benchmarks import benchmark_curves, benchmark_sections, when_measured
    from jorbit.report.html import render_page

    found = {file.stem: _results(file) for file in files}
    titles: dict[str, str] = {}
    for suite in _suites(folder).values():
        for stem in (Path(file).stem for file in suite["results"]):
            titles[stem] = f"{titles[stem]}; {suite['what']}" if stem in titles else suite["what"]
    lead = "What was measured, where and when. Every row is in a file of the folder the page was made from."
    page = render_page("jorbit: benchmarks", lead, benchmark_sections(found, titles), {"jorbit": jorbit.__version__})
    output.write_text(page, encoding="utf-8")
    console = out()
    shown = Table("file", "rows", "figures", "measured", box=None, pad_edge=False, header_style="bold")
    for name, data in found.items():
        figures = list(dict.fromkeys(f"{c.y_label.split(',')[0]} : {c.x_label}" for c in benchmark_curves(data)))
        when = when_measured(data).strip("()").removeprefix("measured ")
        shown.add_row(escape(name), str(len(data.get("rows", []))), escape("\n".join(figures)), escape(when))
    console.print(shown)
    console.print(f"{len(found)} results: {escape(str(output))}")


def _folder(given: Path | None) -> Path:
    """The benchmarks of a checkout: they are no part of the installed package."""
    here = Path.cwd()
    named = [Path(p) for p in (given, os.environ.get("JORBIT_BENCHMARKS")) if p]
    candidates = named or [
        *(parent / "benchmarks" for parent in (here, *here.parents)),
        Path(jorbit.__file__).parents[1] / "benchmarks",
    ]
    for candidate in candidates:
        if (candidate / "suites.toml").is_file():
            return candidate.absolute()
    raise ConfigError(
        f"No benchmarks (suites.toml) in {named[0] if named else here} or above. They come with the source: clone the "
        "repository and call this inside it, or name the folder with --benchmarks."
    )


def _results(file: Path) -> dict[str, Any]:
    """A file of rows as benchmarks write them."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON ({error}). Delete it, and run its benchmark again.") from error
    rows = data.get("rows", []) if isinstance(data, dict) else None
    rows = list(rows.values()) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{file} is no file of results: it has no list of rows. Take it out of the folder.")
    return data


def _suites(folder: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads((folder / "suites.toml").read_text(encoding="utf-8"))


def _peer_names(suite: dict[str, Any]) -> list[str]:
    return [part.partition("}")[0] for word in suite.get("peers", ()) for part in word.split("{")[1:]]


def _measured(path: Path) -> str | None:
    """The oldest date in a file of results."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    dates = [part[:10] for part in text.split('"date": "')[1:]]
    return min(dates, default=None)


def _arguments(
    name: str, suite: dict[str, Any], quick: bool, given: str | None, peers: Path | None
) -> list[str] | None:
    """The words after the script's name; None when it cannot be run for want of a peer."""
    if given is not None and quick:
        raise ConfigError("--arguments and --quick both say what the script is given: leave out one of them.")
    words = list(suite.get("quick", ())) if quick else shlex.split(given or "")
    if given is not None and peers is None:
        return words  # which may name a peer themselves
    installed: dict[str, Any] = {}
    if peers is not None:
        status = peers / "status.json"
        if not status.is_file():
            raise ConfigError(
                f"{peers} has no status.json: make it with python benchmarks/peers/setup.py --into {peers}"
            )
        installed = json.loads(status.read_text(encoding="utf-8"))
    missing = []
    pairs = iter(suite.get("peers", ()))
    for option, value in zip(pairs, pairs, strict=True):
        peer = _peer_names({"peers": [value]})[0]
        interpreter = installed.get(peer, {}).get("python")
        if interpreter is None:
            missing.append(f"{peer} ({installed.get(peer, {}).get('failed', 'not installed')})")
        else:
            words += [option, value.replace(f"{{{peer}}}", interpreter)]
    if missing:
        err().print(f"{name}: without {escape(', '.join(missing))}.")
    if missing and suite.get("needs_peers"):
        err().print(f"{name}: compares with a peer and nothing else; use --peers.")
        return None
    return words
