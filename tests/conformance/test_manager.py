"""The project's own backends are held to the contract that is published for everybody's."""

from __future__ import annotations

from procvm import Backend, FakeBackend, SubprocessBackend
from procvm.testing import PROGRAMS, BackendContract


class TestFake(BackendContract):
    def make_backend(self) -> Backend:
        backend = FakeBackend(seed=1)
        for name, program in PROGRAMS.items():
            backend.program(name, program.script)
        return backend


class TestTree(BackendContract):
    def make_backend(self) -> Backend:
        return SubprocessBackend("tree")


class TestGroup(BackendContract):
    def make_backend(self) -> Backend:
        return SubprocessBackend("group")
