"""Linux: a child that is stopped before every system call that changes a file below a folder.

A seccomp filter lets only those calls stop (ptrace), in all threads: also those of Delta's own
client, whose calls Python does not see. The child can be ended there with SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

_X86 = {
    "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74,
    "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84,
    "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "openat": 257, "mkdirat": 258,
    "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fallocate": 285,
    "pwritev": 296, "renameat2": 316, "copy_file_range": 326, "pwritev2": 328, "openat2": 437,
}  # fmt: skip
_ARM = {
    "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45,
    "ftruncate": 46, "fallocate": 47, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68,
    "pwritev": 70, "sendfile": 71, "fsync": 82, "fdatasync": 83, "renameat2": 276,
    "copy_file_range": 285, "pwritev2": 287, "openat2": 437,
}  # fmt: skip

CALLS = {"x86_64": _X86, "aarch64": _ARM}.get(platform.machine(), {})
"""Numbers of the calls that change files; empty where they are not known."""

_NAMES = {number: name for name, number in CALLS.items()}

_FILE_ARGUMENT = {"sendfile": 0, "copy_file_range": 2}
_BY_DESCRIPTOR = {
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "fsync", "fdatasync", "ftruncate",
    "fallocate", "sendfile", "copy_file_range",
}  # fmt: skip
_PATH_ARGUMENT = {
    "open": 0, "truncate": 0, "rename": 1, "mkdir": 0, "rmdir": 0, "creat": 0, "link": 1,
    "unlink": 0, "symlink": 1, "openat": 1, "openat2": 1, "mkdirat": 1, "unlinkat": 1,
    "renameat": 3, "linkat": 3, "symlinkat": 2, "renameat2": 3,
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_TRACEME, _CONT, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 7, 0x4200, 0x420E
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # fork, vfork, clone, seccomp, exitkill
_EVENT_SECCOMP = 7
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def run_and_kill(work: Callable[[], object], folder: str, number: int | None) -> list[str]:
    """Run in a forked child; end it by SIGKILL before its change of the given number.

    Returns
    -------
    list of str
        The changes, up to the one that was not done any more.

    Raises
    ------
    AssertionError
        If the child ends of itself, but not well.
    """
    child = os.fork()
    if child == 0:
        _become_traced(work)
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_CONT, child, 0)
    return _follow(child, folder, number)


def _become_traced(work: Callable[[], object]) -> None:
    code = 1
    try:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _install_filter()
        work()
        code = 0
    finally:
        os._exit(code)


def _install_filter() -> None:
    """Let the calls stop for the tracer, in this thread and those it starts."""
    load = struct.pack("<HBBI", 0x20, 0, 0, 0)  # the number of the call
    numbers = sorted(_NAMES)
    jumps = [
        struct.pack("<HBBI", 0x15, len(numbers) - place, 0, number)  # equal: to the last line
        for place, number in enumerate(numbers)
    ]
    allow = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    trace = struct.pack("<HBBI", 0x06, 0, 0, 0x7FF00000)
    program = b"".join([load, *jumps, allow, trace])
    lines = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(lines))
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    assert _libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert _libc.prctl(set_seccomp, by_filter, ctypes.c_char_p(header), 0, 0) == 0


def _follow(child: int, folder: str, number: int | None) -> list[str]:
    seen: list[str] = []
    while True:
        thread, status = os.waitpid(-1, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if thread != child:
                continue
            was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            was_meant = number is not None and len(seen) > number
            if was_killed and was_meant:
                return seen
            assert os.WIFEXITED(status), f"the child ended by signal {os.WTERMSIG(status)}"
            assert os.WEXITSTATUS(status) == 0, "the child failed"
            return seen
        passed_on = 0
        event = status >> 16
        if event == _EVENT_SECCOMP:
            change = _describe(thread, folder)
            if change is not None and (number is None or len(seen) <= number):
                seen.append(change)
                if number is not None and len(seen) > number:
                    os.kill(child, signal.SIGKILL)
                    continue
        elif event == 0 and os.WSTOPSIG(status) not in (signal.SIGSTOP, signal.SIGTRAP):
            passed_on = os.WSTOPSIG(status)
        try:
            _ptrace(_CONT, thread, passed_on)
        except ProcessLookupError:
            continue  # it ended meanwhile


def _describe(thread: int, folder: str) -> str | None:
    """Return the call at which a thread stands and its file; None if it changes none of ours."""
    info = ctypes.create_string_buffer(88)
    try:
        _ptrace(_GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
        # op, padding, arch, instruction and stack pointers, then the call and its arguments
        number, *arguments = struct.unpack_from("<Q6Q", info.raw, 24)
        name = _NAMES[number]
        if name in _BY_DESCRIPTOR:
            path = os.readlink(f"/proc/{thread}/fd/{arguments[_FILE_ARGUMENT.get(name, 0)]}")
        else:
            path = _read_text(thread, arguments[_PATH_ARGUMENT[name]])
    except (ProcessLookupError, FileNotFoundError):
        return None
    flags = {"open": 1, "openat": 2}.get(name)
    if flags is not None and not arguments[flags] & _WRITING:
        return None
    is_ours = path.startswith(folder)
    return f"{name} {path.removeprefix(folder)}" if is_ours else None


def _read_text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4096).split(b"\0", 1)[0].decode(errors="replace")


def _ptrace(request: int, thread: int, argument: int, data: int | None = None) -> None:
    # The argument is `addr` where there is data besides, else it is `data` itself.
    address, value = (argument, data) if data is not None else (0, argument)
    if _libc.ptrace(request, thread, address, value) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
