"""What the keeper asks of the kernel: who is whose child, which tag it carries, and signals."""

from __future__ import annotations

import _signal
import posix
import resource

__all__ = [
    "RLIMIT_LOCKS", "UmaskOf", "ancestry_is_ours", "below", "children_of", "command_of",
    "environment_of", "is_ending", "is_stopped", "own_children", "own_children_file_works",
    "parent_of", "send", "send_group", "send_to_child", "session_of", "tag_of",
]  # fmt: skip

RLIMIT_LOCKS = 10  # without effect since Linux 2.4.25, inherited, readable by all: getrlimit(2)
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_EXITING = 4  # PF_EXITING, include/linux/sched.h
_READ = posix.O_RDONLY | posix.O_CLOEXEC
_OWN = f"/proc/self/task/{posix.getpid()}/children"


def ancestry_is_ours() -> bool:
    """Become the parent of every orphan below (prctl(2), PR_SET_CHILD_SUBREAPER).

    And hear, by SIGCONT, of the end of the thread that started the keeper, the host's loop: a host
    that is killed does not end, and closes nothing, while another of its threads waits in the
    kernel where no signal reaches it (for a hung disk, or a pipe that a program holds). SIGCONT,
    as that is heard by a keeper too that somebody has stopped.
    """
    try:
        from _ctypes import call_function, dlopen, dlsym  # noqa: PLC0415 - may be missing

        prctl = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None: the program itself
        call_function(prctl, (_PR_SET_NAME, b"procvm-keeper"))
        call_function(prctl, (_PR_SET_PDEATHSIG, int(_signal.SIGCONT), 0, 0, 0))
        return bool(call_function(prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0)
    except (ImportError, OSError):
        return False


def _content(path: str) -> bytes:
    fd = posix.open(path, _READ)
    try:
        data = more = posix.read(fd, 65536)
        while more:
            more = posix.read(fd, 65536)
            data += more
        return data
    finally:
        posix.close(fd)


def own_children_file_works() -> bool:
    """Tell whether the kernel was built with CONFIG_PROC_CHILDREN."""
    try:
        _content(_OWN)
    except OSError:
        return False
    return True


def own_children() -> set[bytes]:
    """Return the keeper's children, the unreaped dead included.

    The file may leave one out when a sibling ends during the read (proc_pid_children(5)).
    """
    try:
        return set(_content(_OWN).split())
    except OSError:
        return _children_by_walk(b"%d" % posix.getpid())


def children_of(pid: bytes) -> set[bytes]:
    """Return the children of all threads of ``pid``; the file is one for each thread."""
    found: set[bytes] = set()
    try:
        for task in posix.listdir(b"/proc/%b/task" % pid):
            found.update(_content(f"/proc/{pid.decode()}/task/{task.decode()}/children").split())
    except FileNotFoundError:
        if not own_children_file_works():
            return _children_by_walk(pid)
    except OSError:
        pass
    return found


def _children_by_walk(pid: bytes) -> set[bytes]:
    everybody = [name for name in posix.listdir(b"/proc") if name.isdigit()]
    return {one for one in everybody if parent_of(one) == pid}


def _stat_words(pid: bytes) -> list[bytes]:
    try:
        return _content(f"/proc/{pid.decode()}/stat").rpartition(b")")[2].split()
    except OSError:
        return []


def parent_of(pid: bytes) -> bytes | None:
    """Return whose child it is; None when it is gone."""
    words = _stat_words(pid)
    return words[1] if words else None


def session_of(pid: bytes) -> bytes | None:
    """Return its session; None when it is gone."""
    words = _stat_words(pid)
    return words[3] if words else None


def is_stopped(pid: bytes) -> bool:
    """Tell whether a signal has stopped it (proc_pid_stat(5)); its tracer's stops do not count."""
    return _stat_words(pid)[:1] == [b"T"]


def is_ending(pid: int, thread: int) -> bool:
    """Tell whether a thread has ended, or is about to (proc_pid_stat(5), PF_EXITING)."""
    try:
        words = _content(f"/proc/{pid}/task/{thread}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:  # no descriptor is left to look with
        return False
    return words[0] in (b"Z", b"X") or bool(int(words[6]) & _EXITING)


def command_of(pid: bytes) -> str:
    """Return what it is called, as far as that may be read."""
    try:
        return _content(f"/proc/{pid.decode()}/comm").strip().decode("utf-8", "replace")
    except OSError:
        return ""


def environment_of(pid: bytes) -> bytes:
    """Return its environment, as far as that may be read."""
    try:
        return _content(f"/proc/{pid.decode()}/environ")
    except OSError:
        return b""


class UmaskOf:
    """Tells the umask of a process, as it is now (proc_pid_status(5)).

    The file is opened once: beside the look itself that takes as long again.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._fd = posix.open(f"/proc/{pid}/status", _READ)
        except OSError:
            self._fd = -1

    def now(self) -> int | None:
        """Return it; None where it cannot be read."""
        try:
            text = posix.pread(self._fd, 256, 0)
            return int(text.partition(b"Umask:")[2].split(None, 1)[0], 8)
        except (OSError, ValueError, IndexError):
            return None


def tag_of(pid: bytes) -> int | None:
    """Return its soft RLIMIT_LOCKS; None when that is unlimited or cannot be read."""
    try:
        text = _content(f"/proc/{pid.decode()}/limits")
        return int(text.partition(b"Max file locks")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return None


def below(pid: bytes) -> list[tuple[bytes, bytes]]:
    """Return every descendant of ``pid`` with its parent, parents first."""
    found = []
    queue = [pid]
    for parent in queue:
        for child in children_of(parent):
            found.append((child, parent))
            queue.append(child)
    return found


def send_to_child(pid: bytes, *numbers: int) -> None:
    """Signal a child that is not reaped: its number is its own."""
    try:
        for number in numbers:
            posix.kill(int(pid), number)
    except OSError:
        pass  # dead, or another user's: what stays alive is told as a survivor


def send_group(pid: bytes, number: int) -> None:
    """Signal the group of a child that is not reaped, in one go: no fork slips through."""
    try:
        group = posix.getpgid(int(pid))
        if group != posix.getpgid(0):
            posix.killpg(group, number)
    except OSError:
        pass  # the same


def send(pid: bytes, parent: bytes, *numbers: int) -> bool:
    """Signal a descendant that may be reaped by its parent at any time, or not at all.

    False: it has another parent by now, as the one has ended, and has heard nothing.
    """
    try:
        handle = posix.pidfd_open(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        handle = -1  # none is to be had: the second best is to look just before
    try:
        now = parent_of(pid)  # looked at while the number is held: it is nobody else's
        if now != parent:
            return now is None
        for number in numbers:
            if handle >= 0:
                _signal.pidfd_send_signal(handle, number)
            else:
                posix.kill(int(pid), number)
    except OSError:
        pass  # the same
    finally:
        if handle >= 0:
            posix.close(handle)
    return True


def may_be_tagged(soft: int) -> bool:
    """Tell whether a soft limit of this value can be set and read back."""
    old = resource.getrlimit(RLIMIT_LOCKS)
    try:
        resource.setrlimit(RLIMIT_LOCKS, (soft, old[1]))
        seen = tag_of(b"self")
        resource.setrlimit(RLIMIT_LOCKS, old)
    except (OSError, ValueError):
        return False
    return seen == soft
