"""Progress of long work (nothing, a bar, or the caller's own function), and stopping it at a safe place."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

Report = Callable[[str, int, int], None]
Progress = bool | Report | None


@contextlib.contextmanager
def reporting(progress: Progress) -> Iterator[Report]:
    """A function report(stage, done, total) that does what `progress` asks for.

    Args:
        progress: None or False for silence, True for a rich bar per stage, or a function (stage, done, total). What
            follows a colon in the name of a stage may change: "cg: residual 1e-3".

    Example:
        >>> with reporting(print) as report:
        ...     report("design", 1, 2)
        design 1 2
    """
    if progress is None or progress is False:
        yield lambda stage, done, total: None
    elif callable(progress):
        yield progress
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns) as bars:
            tasks: dict[str, Any] = {}

            def report(stage: str, done: int, total: int) -> None:
                name = stage.partition(":")[0]
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
                bars.update(tasks[name], completed=done, total=total, description=stage)

            yield report


@contextlib.contextmanager
def interrupts(catch: bool) -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed, so that a loop can stop between two steps.

    A second Ctrl-C raises KeyboardInterrupt as usual.

    Args:
        catch: False leaves Ctrl-C alone (as does every thread but the main one, which alone receives it).
    """
    pressed: list[int] = []
    if not catch or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handler(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
