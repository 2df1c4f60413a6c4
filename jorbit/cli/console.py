"""What all commands share: where to print, how to start JAX, and what to do when something goes wrong."""

import contextlib
import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.core
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jorbit.core.errors import JorbitError

INTERRUPTED = 130  # 128 + SIGINT, what shells expect of a program stopped with Ctrl-C


def out() -> Console:
    """Results: stdout."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Messages and progress: stderr, so that stdout can be piped."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def start_jax() -> None:
    """Switch JAX to float64 for this process; called before the first array is made."""
    import jax

    jax.config.update("jax_enable_x64", True)


def progress_bar(transient: bool = False) -> Progress:
    """A bar on stderr, when that is a terminal: what is done, how far, how long still. Wiped away if transient."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    )


class Interrupted(Exception):
    """Ctrl-C, with a sentence about the files that can be used."""


@contextlib.contextmanager
def leaving(*files: Path) -> Iterator[None]:
    """While this runs, Ctrl-C names those of `files` that were written since its start.

    Args:
        files: what the block writes, each usable as soon as it exists.

    Raises:
        Interrupted: instead of KeyboardInterrupt.
    """
    begin = time.time() - 1.0  # file systems round modification times
    try:
        yield
    except KeyboardInterrupt as interrupt:
        usable = [str(f) for f in files if f.exists() and f.stat().st_mtime >= begin]
        left = f"Usable so far: {', '.join(usable)}." if usable else "No file had been written yet."
        raise Interrupted(left) from interrupt


def check_writable(path: Path, *suffixes: str) -> None:
    """Fail before the long work, not after it, when `path` cannot be written.

    Args:
        path: of a file.
        suffixes: what its name may end in; anything when there are none.

    Raises:
        JorbitError: another kind of file, no such directory, or no permission.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise JorbitError(f"Cannot write {path}: wanted a name that ends in {' or '.join(suffixes)}.")
    directory = path.parent
    if not directory.is_dir():
        raise JorbitError(f"Cannot write {path}: there is no directory {directory}. Create it, or choose another -o.")
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise JorbitError(f"Cannot write {path}: {error.strerror}. Choose another place with -o.") from error
    if not existed:
        path.unlink()


def _os_message(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"There is no file {error.filename}. Check the path."
    if isinstance(error, PermissionError) and error.filename:
        return f"No permission to open {error.filename}. Check who owns it, or choose another path."
    if error.errno == errno.ENOSPC:
        return "No space left on device: the output is not complete. Make room, or choose another place for it."
    if error.filename:
        return f"{error.filename}: {error.strerror}."
    return f"{error.strerror or error}."


def _message(error: BaseException) -> str | None:
    """What to tell the user about a failure; None when it is not ours to tell."""
    if isinstance(error, JorbitError):
        return str(error)
    if isinstance(error, OSError):
        return None if isinstance(error, BrokenPipeError) else _os_message(error)
    if isinstance(error, MemoryError):
        return "Out of memory. Use fewer or smaller structures at once, or a smaller model."
    if isinstance(error, typer.Exit | typer.Abort) or not isinstance(error, Exception) or _is_usage_error(error):
        return None
    what = f"{type(error).__name__}: {error}"
    return f"{what}\nThis is a bug in jorbit; the same command after `jorbit --debug` shows where it happened."


class ReadableErrors(typer.core.TyperGroup):
    """A command group in which every failure is one message on stderr and an exit code; a traceback with --debug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Interrupted) as stop:
            if ctx.params.get("debug"):
                raise
            err().print(f"[yellow]Stopped.[/] {escape(str(stop))}".rstrip())
            raise typer.Exit(INTERRUPTED) from None
        except BaseException as error:
            message = _message(error)
            if message is None or ctx.params.get("debug"):
                raise
            err().print(f"[bold red]Error:[/] {escape(message)}")
            raise typer.Exit(1) from None


def _is_usage_error(error: Exception) -> bool:
    """Errors of the argument parser print themselves and exit with 2."""
    return any(base.__name__ == "ClickException" for base in type(error).__mro__)
