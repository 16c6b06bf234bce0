"""A filter of system calls, for a process that runs code which nobody has read."""

from __future__ import annotations

import errno
import struct

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's number of each machine, and the column of it in the table."""

_DENIED = {
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
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
"""System calls that no solution of a task needs. Each has its number on x86-64 and on arm64."""

_CLONE, _CLONE3 = (56, 220), 435
_NEW_NAMESPACES = 0x7E020000
"""Flags of `clone` that make a namespace."""
_NUMBERS_OF_X32 = 0x40000000
"""From here on, x86-64 has its calls once more."""

_LOAD, _SAME, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
"""Where these stand in what the kernel tells of a call."""
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def syscall_filter(machine: str) -> bytes | None:
    """The filter, as a program in the kernel's own form (`sock_filter` of `linux/filter.h`).

    A call that is denied fails with EPERM. `clone3` is said to be missing, since a filter cannot see its flags. The C
    library then takes `clone`. A call in another machine's form ends the process.

    Args:
        machine: Name of the machine, as `platform.machine()` tells it.

    Returns:
        The program. None if the machine's system calls are not known here.

    Source: the kernel's documentation of seccomp filters. Which calls are denied follows the default profile of Docker.

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
    for numbers in _DENIED.values():
        steps += _answered(_SAME, numbers[column], refuse)
    steps += _answered(_SAME, _CLONE3, _ERROR | errno.ENOSYS)
    steps += [(_SAME, 1, 0, _CLONE[column]), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    steps += [*_answered(_ANY_BIT, _NEW_NAMESPACES, refuse), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _answered(test: int, value: int, answer: int) -> list[tuple[int, int, int, int]]:
    """Two steps: if the test holds, the answer is given. Else the next steps follow."""
    return [(test, 0, 1, value), (_RETURN, 0, 0, answer)]
