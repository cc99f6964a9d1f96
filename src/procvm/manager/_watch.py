"""A live table in a notebook, moved by events."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any, Self

from ..display import manager_html, vms_text
from ..errors import ManagerClosedError
from ..values import shown
from ._core import Core
from ._shown import rows_of, title_of

__all__ = ["Watch"]

_log = logging.getLogger("procvm")
_LEAST_BETWEEN = 0.2  # seconds: five pictures in a second are as many as an eye wants
_PATIENCE = 5.0


class _Picture:
    """What a notebook shows at one moment."""

    def __init__(self, core: Core, title: str, rows: list[dict[str, Any]]) -> None:
        self._html = manager_html(title_of(core, title), rows, core.backend.capabilities.degraded)
        self._text = vms_text(rows)

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


class _Bell:
    """A listener of the engine that rings for every event and keeps none."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def put(self, _: Any) -> None:
        """Ring; never blocks."""
        self._watch.ring()

    def stop(self) -> None:
        """End with the manager."""
        self._watch.stop()

    def join(self, timeout: float) -> None:
        """Wait for nothing: it has drawn a last time."""


class Watch:
    """A table of a manager's VMs that changes in its place, as long as it is not stopped.

    An event draws it anew, a burst of events only once in a while; without events nothing
    runs. ``stop`` (or ``close``, the end of ``with``, or of the manager) draws it a last time.
    """

    def __init__(self, core: Core, title: str) -> None:
        self._display, self._shell = _notebook()
        self._core, self._title = core, title
        self._dirty, self._stopping = threading.Event(), threading.Event()
        self._stop_lock = threading.RLock()
        self._cell = self._shell.execution_count
        self._last: list[str] = []
        self._handle = self._display(self._picture(), display_id=True)
        self._thread = threading.Thread(target=self._run, name="procvm-watch", daemon=True)
        self._bell = _Bell(self)
        self._thread.start()
        try:
            core.add_listener(self._bell)
        except ManagerClosedError:  # a moment ago, by another thread
            self.stop()
        self.ring()  # for what happened between the picture and the bell

    def ring(self) -> None:
        """Let it be drawn anew soon; for its manager's events."""
        self._dirty.set()

    def _run(self) -> None:
        while True:
            self._dirty.wait()
            if self._stopping.is_set():
                return
            self._dirty.clear()
            self._draw()
            self._stopping.wait(_LEAST_BETWEEN)

    def _draw(self) -> None:
        try:
            self._handle.update(self._picture())
        except Exception:  # noqa: BLE001 - a notebook that is gone is not the VMs' trouble
            _log.warning("a watched table could not be drawn", exc_info=True)

    def _picture(self) -> _Picture:
        """Return what is to be seen now; of a closed manager how each ended that it took away."""
        engine, rows = self._core.engine, rows_of(self._core)
        if not engine.is_closing:
            self._last = [row["vm_id"] for row in rows]
        elif self._core.is_closed:
            books = map(engine.book, self._last)
            rows = [shown(book[0]) for book in books if book is not None]
        return _Picture(self._core, self._title, rows)

    def stop(self) -> None:
        """Draw it a last time and let it be; again is silent."""
        with self._stop_lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        self._core.drop_listener(self._bell)
        self._dirty.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
        self._draw()

    def close(self) -> None:
        """Stop it; the same as ``stop``."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        """Say what it watches."""
        return f"<Watch of {self._title}{' stopped' if self._stopping.is_set() else ''}>"

    def _ipython_display_(self) -> None:
        """Show it again in a later cell; in its first cell it is there already."""
        if self._shell.execution_count != self._cell:
            self._display(self._picture(), display_id=self._handle.display_id)


def _notebook() -> tuple[Any, Any]:
    """Return IPython's display and its shell, or say what is missing."""
    instead = "list() and health() tell the same, and subscribe() tells what happens"
    try:
        from IPython import get_ipython  # noqa: PLC0415 - an extra: whoever watches has it
        from IPython.display import display  # noqa: PLC0415 - the same
    except ImportError as e:
        why = f"watch() draws in a notebook and needs IPython, which is not installed; {instead}"
        raise ImportError(why, name="IPython") from e
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if shell is None:
        raise RuntimeError(
            f"watch() draws in a notebook, and this program runs in none; {instead}"
        )
    return display, shell
