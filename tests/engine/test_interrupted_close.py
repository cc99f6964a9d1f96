"""What an interrupted close could not stop is told by the next one."""

from __future__ import annotations

import threading

import pytest

from procvm import FakeBackend, StopError, VMConfig, VMManager
from procvm.backends import Capabilities, Key, Waiter
from procvm.facts import Survivor


class Stuck(FakeBackend):
    """Nothing ends here, and the first who waits for that is interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.is_interrupted = False

    @property
    def capabilities(self) -> Capabilities:
        """Not those of virtual time: there is a backend to end."""
        return Capabilities("tree")

    def stop(self, key: Key, *, grace: float) -> None:
        """Tell what is alive."""
        sink = self._sink
        assert sink is not None
        self.call_later(0, lambda: sink.survived(key, (Survivor(4711, "stuck"),)))

    def block(self, waiter: Waiter, timeout: float | None) -> bool:
        """Be interrupted, once."""
        if self.is_interrupted:
            self.is_interrupted = False
            raise KeyboardInterrupt
        return super().block(waiter, timeout)


def test_what_an_interrupted_close_could_not_stop_is_told_by_the_next() -> None:
    backend = Stuck()
    manager = VMManager(backend)
    manager.allocate(VMConfig("stuck", "stuck"))
    backend.is_interrupted = True
    with pytest.raises(KeyboardInterrupt):
        manager.close()
    for thread in threading.enumerate():
        if thread.name == "procvm-closing":
            thread.join()
    assert repr(manager) == "<VMManager closed>"
    with pytest.raises(ExceptionGroup) as caught:
        manager.close()
    (error,) = caught.value.exceptions
    assert isinstance(error, StopError)
    assert error.survivors == (Survivor(4711, "stuck"),)
    manager.close()
