"""The filter of system calls: what it answers by its own program, and what a kernel makes of it."""

from __future__ import annotations

import errno
import platform
import struct
import subprocess
import sys

import pytest

from dsplus_chains.verifying.syscall_filter import _DENIED, _DENIED_IF_SHARED, syscall_filter

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS


def answered(machine, number, first=0, kind=None, second=0, **settings):
    """What the kernel would do at a call, by the documented meaning of the filter's steps."""
    told = struct.pack("=IIQ6Q", number, MACHINES[machine] if kind is None else kind, 0, first, second, 0, 0, 0, 0)
    steps, at, held = list(struct.iter_unpack("=HBBI", syscall_filter(machine, **settings))), 0, 0
    while True:
        code, if_so, if_not, value = steps[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("=I", told, value)[0]
        elif code == 0x06:
            return value
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += if_so if holds else if_not


@pytest.mark.parametrize(("machine", "column", "clone"), [("x86_64", 0, 56), ("aarch64", 1, 220)])
def test_each_call_is_answered(machine, column, clone):
    denied = {numbers[column] for numbers in _DENIED.values()} - {None}
    assert len(denied) == sum(numbers[column] is not None for numbers in _DENIED.values())
    for number in range(500):
        if number not in {clone, 435}:
            assert answered(machine, number) == (EPERM if number in denied else ALLOW), number
    assert answered(machine, 435) == ENOSYS
    a_thread, a_fork, a_vfork = 0x3D0F00, 17, 0x4111
    for flags in (a_thread, a_fork, a_vfork):
        assert answered(machine, clone, flags) == EPERM
        assert answered(machine, clone, flags, threads=True) == (ALLOW if flags == a_thread else EPERM)
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answered(machine, clone, flag | a_thread, threads=True) == EPERM
        assert answered(machine, clone, (1 << 32) | flag | a_thread, threads=True) == EPERM


@pytest.mark.parametrize(("machine", "column", "clone"), [("x86_64", 0, 56), ("aarch64", 1, 220)])
def test_each_call_is_answered_where_namespaces_are_shared(machine, column, clone):
    more = {numbers[column] for numbers in _DENIED_IF_SHARED.values()} - {None}
    assert len(more) == sum(numbers[column] is not None for numbers in _DENIED_IF_SHARED.values())
    for number in range(500):
        if number != (16, 29)[column]:
            expected = EPERM if number in more else answered(machine, number)
            assert answered(machine, number, shared=True) == expected, number
    assert answered(machine, clone, 0x10000011, shared=True) == EPERM


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("machine", "prlimit"), [("x86_64", 302), ("aarch64", 261)])
def test_a_process_has_its_own_limits_only(machine, prlimit, shared):
    for pid, answer in [(0, ALLOW), (1 << 32, ALLOW), (1, EPERM), (2**22, EPERM), (2**32 - 1, EPERM)]:
        assert answered(machine, prlimit, pid, shared=shared) == answer  # the kernel takes the lower half


@pytest.mark.parametrize(("machine", "ioctl"), [("x86_64", 16), ("aarch64", 29)])
def test_files_are_asked_for_what_is_of_terminals(machine, ioctl):
    for command in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451):
        assert answered(machine, ioctl, second=command, shared=True) == ALLOW
    for command in (0, 1, 0x53FF, 0x5500, 0x8914, 0x40086602, 0x401C5820, 0x80086601):
        assert answered(machine, ioctl, second=command, shared=True) == EPERM
        assert answered(machine, ioctl, second=command) == ALLOW


def test_calls_in_the_form_of_another_machine_end_the_process():
    assert answered("x86_64", 0, kind=0x40000003) == KILL  # 32 bits
    assert answered("x86_64", 0x40000000) == KILL  # x32
    assert answered("aarch64", 0, kind=MACHINES["x86_64"]) == KILL


def test_machines_whose_calls_are_not_known_have_no_filter():
    assert syscall_filter("riscv64") is None


SHUT = """
import ctypes, os, subprocess, sys, threading
program = bytes.fromhex(sys.argv[1])
held = ctypes.create_string_buffer(program)
class Told(ctypes.Structure):
    _fields_ = [("steps", ctypes.c_ushort), ("program", ctypes.c_void_p)]
c = ctypes.CDLL(None, use_errno=True)
assert c.prctl(38, 1, 0, 0, 0) == 0
if c.prctl(22, 2, ctypes.byref(Told(len(program) // 8, ctypes.addressof(held))), 0, 0):
    print("no filters:", os.strerror(ctypes.get_errno()))
    sys.exit()
for number in map(int, sys.argv[2:]):
    ctypes.set_errno(0)
    print(number, c.syscall(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno())
def tried(start):
    try:
        start()
    except (OSError, RuntimeError) as error:
        print(type(error).__name__)
def thread():
    started = threading.Thread(target=print, args=("a thread",))
    started.start()
    started.join()
tried(thread)
tried(os.fork)
tried(lambda: os.posix_spawn(sys.executable, ["python", "-c", ""], {}))
tried(lambda: subprocess.run([sys.executable, "-c", ""]))
"""


@pytest.mark.skipif(
    syscall_filter(platform.machine()) is None or sys.platform != "linux", reason="no known system calls"
)
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_the_kernel_takes_it_and_python_lives_under_it(shared, threads):
    machine = platform.machine()
    denied = {**_DENIED, **(_DENIED_IF_SHARED if shared else {})}
    numbers = [numbers[list(MACHINES).index(machine)] for numbers in denied.values()]
    numbers = [number for number in numbers if number is not None]
    command = [sys.executable, "-c", SHUT, syscall_filter(machine, shared=shared, threads=threads).hex()]
    command += map(str, numbers)
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if lines[0].startswith("no filters"):
        pytest.skip(f"this kernel knows {lines[0]}")
    started = ["a thread" if threads else "RuntimeError", *["PermissionError"] * 3]
    assert lines == [*(f"{number} -1 {errno.EPERM}" for number in numbers), *started]
