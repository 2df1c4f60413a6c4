"""What a running simulation shows, and how it is interrupted without losing anything."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jorbit.simulate.frames import Series
from jorbit.simulate.observables import energy_drift

_EVERY = 0.5  # seconds


class LiveReport:
    """A progress bar with temperature, drift of the total energy and ns/day; a context manager.

    Args:
        show: False shows nothing.
        n_steps: of the whole run.
        timestep: fs.
        n_atoms: to divide the drift by.
        done: steps made in earlier parts.
    """

    def __init__(self, show: bool, n_steps: int, timestep: float, n_atoms: int, done: int):
        self.timestep, self.n_atoms = timestep, n_atoms
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not show,
        )
        self._show, self._shown, self._first = show, 0.0, (done, 0.0)
        self._task = self._bar.add_task("MD", total=n_steps, completed=done)

    def show(self, series: Series, done: int) -> None:
        """Bring it up to date; at most twice a second."""
        now = time.perf_counter()
        if not self._show or now - self._shown < _EVERY:
            return
        self._shown = now
        if self._first[1] == 0.0:
            self._first = (done, now)  # the clock of ns/day starts after the first block, which was compiled
        self._bar.update(self._task, completed=done, description=self.text(series, done, now))

    def text(self, series: Series, done: int, now: float) -> str:
        """Temperature, drift, speed."""
        arrays = series.arrays()
        parts = [f"{arrays['temperatures'][-1]:.0f} K"]
        drift, _ = energy_drift(arrays["times"], arrays["potential"] + arrays["kinetic"], self.n_atoms)
        parts.append(f"drift {drift:.2g} meV/atom/ps")
        if now > self._first[1] and done > self._first[0]:
            speed = (done - self._first[0]) * self.timestep * 1e-6 / (now - self._first[1]) * 86400
            parts.append(f"{speed:.3g} ns/day")
        return "  ".join(parts)

    def __enter__(self) -> "LiveReport":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


@contextlib.contextmanager
def interruptions(wanted: bool) -> Iterator[list[int]]:
    """A list that Ctrl-C and SIGTERM fill, so that a block is finished and a checkpoint written before the end.

    A second signal interrupts at once. Outside the main thread, or when not wanted, signals act as ever.
    """
    received: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
