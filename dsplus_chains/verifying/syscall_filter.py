"""A filter of system calls, for a process that runs code which nobody has read."""

from __future__ import annotations

import errno
import platform
import struct

from dsplus_chains.verifying.executor import ExecutorError

_Step = tuple[int, int, int, int]
"""A step of a filter: its code, how many steps to skip if it holds and if not, and its value."""

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's number of each machine, and the column of it in the table."""

_DENIED: dict[str, tuple[int, int | None]] = {
    # Other processes. `clone` is judged by its flags.
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Namespaces, in which a user has more of the kernel before him.
    "unshare": (272, 97),
    "setns": (308, 268),
    # File systems, and files by handle.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    # Code in the kernel, and another kernel.
    "bpf": (321, 280),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    # Large parts of the kernel that many exploits begin with.
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # The machine's log, accounts and clock.
    "syslog": (103, 116),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
}
"""System calls that no solution of a task needs, by their numbers on x86-64 and on arm64. None: it is not there."""

_DENIED_IF_SHARED: dict[str, tuple[int, int | None]] = {
    # What a file is, beside its content. Landlock does not watch over these.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "getxattrat": (464, 464),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "listxattrat": (465, 465),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # What others do with files.
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    # Ways to the network and to other processes.
    "socket": (41, 198),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
"""System calls that reach the host from a process which shares its namespaces."""

_PRLIMIT, _IOCTL = (302, 261), (16, 29)
_OF_TERMINALS = (0x5400, 0x5500)
"""From where to where `ioctl` has the commands of terminals. Python opens each file with one of them."""
_CLONE, _CLONE3 = (56, 220), 435
_NEW_NAMESPACES = 0x7E020000
"""Flags of `clone` that make a namespace."""
_THREAD = 0x00010000
"""Flag of `clone` that makes a thread of the same process."""
_NUMBERS_OF_X32 = 0x40000000
"""From here on, x86-64 has its calls once more."""

_LOAD, _SAME, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
"""Where these stand in what the kernel tells of a call."""
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def syscall_filter(machine: str, *, shared: bool = False, threads: bool = False) -> bytes | None:
    """The filter, as a program in the kernel's own form (`sock_filter` of `linux/filter.h`).

    A call that is denied fails with EPERM. `clone3` is said to be missing, since a filter cannot see its flags. The C
    library then takes `clone`. A process has `prlimit64` for its own limits only. A call in another machine's form ends
    the process.

    Args:
        machine: Name of the machine, as `platform.machine()` tells it.
        shared: Whether the process shares the host's namespaces. It is then also denied to open a socket or a queue, to
            watch files, and to change their modes, owners and times. It can neither read nor change their attributes.
            Of `ioctl` it has what is for terminals.
        threads: Whether it may start threads. It is never let start a process.

    Returns:
        The program. None if the machine's system calls are not known here.

    Source: the kernel's documentation of seccomp filters. Which calls are denied follows the default profile of Docker.
        Those that steer other processes, and those under `shared`, come on top.

    Example:
        >>> len(syscall_filter("x86_64")) % 8, syscall_filter("abacus")
        (0, None)
    """
    if machine not in _MACHINES:
        return None
    number, column = _MACHINES[machine]
    refuse = _ERROR | errno.EPERM
    steps = [(_LOAD, 0, 0, _MACHINE), (_SAME, 1, 0, number), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    steps += _answered(_AT_LEAST, _NUMBERS_OF_X32, _KILL)
    for numbers in [*_DENIED.values(), *(_DENIED_IF_SHARED.values() if shared else ())]:
        denied = numbers[column]
        if denied is not None:
            steps += _answered(_SAME, denied, refuse)
    steps += _answered(_SAME, _CLONE3, _ERROR | errno.ENOSYS)
    started = _answered(_ANY_BIT, _NEW_NAMESPACES, refuse)
    started += _answered(_ANY_BIT, _THREAD, _ALLOW) if threads else []
    steps += _judged(_CLONE[column], _FIRST_ARGUMENT, started, refuse)
    steps += _judged(_PRLIMIT[column], _FIRST_ARGUMENT, _answered(_AT_LEAST, 1, refuse), _ALLOW)
    if shared:
        first, beyond = _OF_TERMINALS
        of_terminals = [*_answered(_AT_LEAST, beyond, refuse), *_answered(_AT_LEAST, first, _ALLOW)]
        steps += _judged(_IOCTL[column], _SECOND_ARGUMENT, of_terminals, refuse)
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def filter_here(*, shared: bool = False, threads: bool = False) -> bytes:
    """The filter for this machine; see `syscall_filter`.

    Raises:
        ExecutorError: The machine's system calls are not known here.
    """
    machine = platform.machine()
    denied = syscall_filter(machine, shared=shared, threads=threads)
    if denied is None:
        msg = f"Got a machine of the kind {machine!r}, whose system calls are not known; use MontyExecutor"
        raise ExecutorError(msg)
    return denied


def _answered(test: int, value: int, answer: int) -> list[_Step]:
    """Two steps: if the test holds, the answer is given. Else the next steps follow."""
    return [(test, 0, 1, value), (_RETURN, 0, 0, answer)]


def _judged(number: int, argument: int, tests: list[_Step], otherwise: int) -> list[_Step]:
    """Steps that judge one call by an argument: by tests, and if none holds, by the last answer."""
    judged = [(_LOAD, 0, 0, argument), *tests, (_RETURN, 0, 0, otherwise)]
    return [(_SAME, 0, len(judged), number), *judged]
