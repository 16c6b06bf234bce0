"""Code that tries to pass a test without solving it, or to reach the host.

Each defines, or pretends to define, `f`, which should double a number. `{canary}` is a file of the host, `{port}` a port
on which the host listens, and `{folder}` a folder of the host. `{pid}` is the process that asks for the job. `{clone}`,
`{add_key}` and `{ioprio_set}` are numbers of system calls.
Every attack returns what it got hold of, if anything. One on the kernel says "reached" if it was let in.
"""

# ruff: noqa: E501  (each attack is one line of the table)
from __future__ import annotations

TEST = "assert f(2) == 4"

FORGE = '["value", 4]'

CHEATS = {
    "exits before any test": "import os\nos._exit(0)",
    "exits with success": "import sys\nsys.exit(0)",
    "raises SystemExit in the call": "def f(x):\n    raise SystemExit(0)",
    "an object that equals everything": "class Yes:\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
    "an object that equals nothing else": (
        "class Yes:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __bool__(self): return True\n    def __hash__(self): return 4\ndef f(x): return Yes()"
    ),
    "a number that equals everything": "class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes(3)",
    "a list that equals everything": "class Yes(list):\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
    "a metaclass": "class M(type):\n    def __eq__(self, other): return True\nclass Yes(metaclass=M): pass\ndef f(x): return Yes",
    "a shadowed print": "def print(*a, **k): pass\ndef f(x): return 3",
    "a shadowed bool": "bool = lambda x: True\ndef f(x): return 3",
    "a shadowed type": "def type(x): return int\ndef f(x): return (i for i in [4])",
    "a patched builtin": "import builtins\nbuiltins.bool = lambda x: True\nbuiltins.AssertionError = Exception\ndef f(x): return 3",
    "forged lines before the test": f"print('{FORGE}')\nprint('PASSED')\ndef f(x): return 3",
    "forged lines on every descriptor": (
        "import os\nfor n in range(1, 32):\n    try: os.write(n, b'[\"value\", true]\\n' * 50)\n    except OSError: pass\n"
        "def f(x): return 3"
    ),
    "a forged nonce from the caller's frame": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for v in list(frame.f_locals.values()):\n            if isinstance(v, str) and '==' in v: return 4\n"
        "        frame = frame.f_back\n    return 3"
    ),
    "the expected value from memory": (
        "import gc, re\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, (list, tuple, dict)):\n"
        "            found = re.search(r'f.2. == ([0-9]+)', repr(o)[:5000])\n"
        "            if found: return int(found[1])\n    return 3"
    ),
    "the expected value from the standard input": "import sys\ndef f(x):\n    return 4 if '==' in sys.stdin.read() else 3",
    "the expected value from the command line": (
        "def f(x):\n    return 4 if 'assert f' in open('/proc/self/cmdline').read() else 3"
    ),
    "a patched encoder": (
        "import sys\nfor name in ('encoded', 'executed'):\n    sys._getframe(2).f_globals[name] = lambda *a: True\n"
        "def f(x): return 3"
    ),
    "an exit handler": "import atexit\natexit.register(lambda: print('passed'))\ndef f(x): return 3",
    "an endless loop": "while True: pass",
    "an endless loop that catches all": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "a sleep": "import time\nwhile True: time.sleep(60)",
    "endless recursion": "def f(x): return f(x)",
    "all memory": "x = [0] * 10**10\ndef f(x): return 3",
    "memory bit by bit": "x = []\nwhile True: x.append('a' * 10**6)",
    "a number too big to print": "def f(x): return 10 ** 10 ** 6",
    "endless output": "while True: print('x' * 10**6)",
    "a huge value": "def f(x): return 'x' * 10**8",
    "a value nested too deeply": "def f(x):\n    v = []\n    for _ in range(10**5): v = [v]\n    return v",
    "a value that holds itself": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "code nested too deeply": "f = " + "-" * 50_000 + "1",
    "a regular expression that takes for ever": "import re\ndef f(x): return re.match('(a|a)*$', 'a' * 60 + 'b')",
    "a trailing tuple": "def f(x): return 3\n(1, 2, 4)",
    "half of a character in the code": "def f(x): return 3  # \ud800",
    "null bytes": "def f(x): return 3\n\0",
    "half of a character": "def f(x): return '\\ud800'",
}
"""Attacks on the verdict. None of them doubles a number."""

ESCAPES = {
    "reads a file": "def f(x): return open({canary!r}).read()",
    "reads a file through pathlib": "import pathlib\ndef f(x): return pathlib.Path({canary!r}).read_text()",
    "writes a file": "def f(x): return open({folder!r} + '/written', 'w').write('x')",
    "removes a file": "import os\ndef f(x): return os.remove({canary!r})",
    "lists a folder": "import os\ndef f(x): return os.listdir({folder!r})",
    "changes the root": "import os\nos.chdir('..')\ndef f(x): return open('../../../../../..' + {canary!r}).read()",
    "follows a process to its files": (
        "import os\ndef f(x):\n    for p in os.listdir('/proc'):\n        try: return open(f'/proc/{{p}}/root' + {canary!r}).read()\n"
        "        except OSError: pass"
    ),
    "connects": (
        "import socket\ndef f(x):\n    s = socket.create_connection(('127.0.0.1', {port}), 1)\n    s.send(b'x')\n    return 'connected'"
    ),
    "asks for a page": "import urllib.request\ndef f(x): return urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)",
    "reads the environment": "import os\ndef f(x): return os.environ['DSPLUS_CANARY']",
    "reads the environment of others": (
        "import os\ndef f(x):\n    for p in os.listdir('/proc'):\n        try:\n            if b'sesame' in open(f'/proc/{{p}}/environ', 'rb').read(): "
        "return 'sesame'\n        except OSError: pass"
    ),
    "starts a shell": "import os\ndef f(x): return os.system('touch ' + {folder!r} + '/written')",
    "starts a process": "import subprocess\ndef f(x): return subprocess.check_output(['cat', {canary!r}]).decode()",
    "forks and lives on": (
        "import os, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(1)\n"
        "        open({folder!r} + '/written', 'w').write('x')\n    return 3"
    ),
    "forks without end": "import os\ndef f(x):\n    while True: os.fork()",
    "calls C": "import ctypes\ndef f(x): return ctypes.CDLL(None).open({canary!r}.encode(), 0)",
    "kills its parent": "import os\ndef f(x): return os.kill(os.getppid(), 9)",
    "kills all": "import os\ndef f(x): return os.kill(-1, 9)",
    "writes into the memory of the first process": (
        "import os\ndef f(x):\n    if os.getpid() == 1: return\n    open('/proc/1/mem', 'r+b')\n    return 'reached'"
    ),
    "climbs by subclasses": (
        "def f(x):\n    for c in ().__class__.__base__.__subclasses__():\n        g = getattr(c.__init__, '__globals__', None)\n"
        "        if g and 'open' in g.get('__builtins__', ()): return g['__builtins__']['open']({canary!r}).read()"
    ),
    "imports by name": "def f(x): return __import__('os').popen('cat ' + {canary!r}).read()",
    "evaluates text": 'def f(x): return eval("__import__(\'io\').open(" + repr({canary!r}) + ").read()")',
    "loads the package": "import dsplus_chains\ndef f(x): return dsplus_chains.__file__",
    "makes a namespace of its own": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).unshare(0x10000000) == 0: return 'reached'",
    "starts a process in a namespace of its own": (
        "import ctypes, os\ndef f(x):\n    pid = ctypes.CDLL(None).syscall({clone}, 0x10000011, 0, 0, 0, 0)\n"
        "    if pid == 0: os._exit(0)\n    if pid > 0: return 'reached'"
    ),
    "starts a process in a namespace of its own, the new way": (
        "import ctypes, os\ndef f(x):\n    told = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)\n"
        "    pid = ctypes.CDLL(None).syscall(435, told, 88)\n"
        "    if pid == 0: os._exit(0)\n    if pid > 0: return 'reached'"
    ),
    "is root in a namespace and mounts": (
        "import ctypes\ndef f(x):\n    c = ctypes.CDLL(None)\n    c.unshare(0x10020000)\n"
        "    if c.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0: return 'reached'"
    ),
    "traces": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0: return 'reached'",
    "reads memory through the kernel": (
        "import ctypes, os\ndef f(x):\n    b = ctypes.create_string_buffer(8)\n    v = (ctypes.c_uint64 * 2)(ctypes.addressof(b), 8)\n"
        "    if ctypes.CDLL(None).process_vm_readv(os.getpid(), v, 1, v, 1, 0) == 8: return 'reached'"
    ),
    "makes a ring of requests": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).syscall(425, 1, (ctypes.c_uint32 * 30)()) >= 0: return 'reached'"
    ),
    "takes the caller's time": "import resource\ndef f(x):\n    resource.prlimit({pid}, resource.RLIMIT_CPU, resource.prlimit({pid}, resource.RLIMIT_CPU))\n    return 'reached'",
    "takes the caller's files": "import resource\ndef f(x):\n    resource.prlimit({pid}, resource.RLIMIT_NOFILE)\n    return 'reached'",
    "takes its parent's time": (
        "import os, resource\ndef f(x):\n    resource.prlimit(os.getppid() or 1, resource.RLIMIT_CPU, (1, 1))\n    return 'reached'"
    ),
    "slows the caller down": "import os\ndef f(x):\n    os.setpriority(os.PRIO_PROCESS, {pid}, os.getpriority(os.PRIO_PROCESS, {pid}))\n    return 'reached'",
    "slows the user down": "import os\ndef f(x):\n    os.setpriority(os.PRIO_USER, os.getuid(), os.getpriority(os.PRIO_USER, os.getuid()))\n    return 'reached'",
    "ties the caller to a processor": "import os\ndef f(x):\n    os.sched_setaffinity({pid}, os.sched_getaffinity({pid}))\n    return 'reached'",
    "makes the caller wait for all others": "import os\ndef f(x):\n    os.sched_setscheduler({pid}, os.SCHED_OTHER, os.sched_param(0))\n    return 'reached'",
    "makes the caller wait for its files": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).syscall({ioprio_set}, 1, {pid}, 0) == 0: return 'reached'",
    "lets all read a file": "import os\ndef f(x):\n    os.chmod({canary!r}, 0o777)\n    return 'reached'",
    "gives a file away": "import os\ndef f(x):\n    os.chown({canary!r}, os.getuid(), os.getgid())\n    return 'reached'",
    "gives a link away": "import os\ndef f(x):\n    os.lchown({canary!r}, os.getuid(), os.getgid())\n    return 'reached'",
    "makes a file old": "import os\ndef f(x):\n    os.utime({canary!r}, (1, 1))\n    return 'reached'",
    "marks a file": "import os\ndef f(x):\n    os.setxattr({canary!r}, 'user.dsplus', b'x')\n    return 'reached'",
    "reads the mark of a file": "import os\ndef f(x): return os.getxattr({canary!r}, 'user.dsplus_canary').decode()",
    "marks a file no more": "import os\ndef f(x):\n    os.removexattr({canary!r}, 'user.dsplus_canary')\n    return 'reached'",
    "changes the mode of a library": "import os\ndef f(x):\n    os.chmod(os.__file__, os.stat(os.__file__).st_mode & 0o7777)\n    return 'reached'",
    "changes the time of a library": (
        "import os\ndef f(x):\n    s = os.stat(os.__file__)\n    os.utime(os.__file__, ns=(s.st_atime_ns, s.st_mtime_ns))\n    return 'reached'"
    ),
    "changes the mode of an open library": (
        "import os\ndef f(x):\n    with open(os.__file__) as b: os.fchmod(b.fileno(), os.stat(os.__file__).st_mode & 0o7777)\n    return 'reached'"
    ),
    "changes the owner of an open library": (
        "import os\ndef f(x):\n    with open(os.__file__) as b: os.fchown(b.fileno(), os.stat(b.fileno()).st_uid, -1)\n    return 'reached'"
    ),
    "changes the time of an open library": (
        "import os\ndef f(x):\n    with open(os.__file__) as b:\n        s = os.stat(b.fileno())\n"
        "        os.utime(b.fileno(), ns=(s.st_atime_ns, s.st_mtime_ns))\n    return 'reached'"
    ),
    "changes the flags of an open library": (
        "import fcntl, os\ndef f(x):\n    with open(os.__file__) as b:\n        flags = fcntl.ioctl(b, 0x80086601, b'        ')\n"
        "        fcntl.ioctl(b, 0x40086602, flags)\n    return 'reached'"
    ),
    "watches a folder": (
        "import ctypes\ndef f(x):\n    c = ctypes.CDLL(None)\n    if c.inotify_add_watch(c.inotify_init(), {folder!r}.encode(), 4095) >= 0: return 'reached'"
    ),
    "lists the network's cards": "import socket\ndef f(x):\n    if {{n for _, n in socket.if_nameindex()}} - {{'lo'}}: return 'reached'",
    "asks the kernel for the network's cards": (
        "import socket\ndef f(x):\n    s = socket.socket(16, 3, 0)\n    s.send(bytes.fromhex('14000000120001030100000000000000') + bytes(4))\n"
        "    if b'eth0' in s.recv(65536): return 'reached'"
    ),
    "keeps a key in the kernel": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).syscall({add_key}, b'user', b'k', b'v', 1, -1) > 0: return 'reached'"
    ),
}
"""Attacks on the host, and on the kernel below it."""

_NAMED = (
    "import ctypes, os, time\nC = ctypes.CDLL(None)\nC.prctl(15, b'{name}', 0, 0, 0)\ndef wait(): time.sleep({wait})\n"
)
_GROWS = (
    _NAMED
    + "def f(x):\n    try:\n        for _ in range(50):\n            if CALL == 0: break\n    finally: wait()\n    os._exit(0)"
)

BOMBS = {
    "forks": _GROWS.replace("CALL", "os.fork()"),
    "forks by number": _GROWS.replace("CALL", "C.syscall({clone}, 17, 0, 0, 0, 0)"),
    "forks of forks": _NAMED + "def f(x):\n    try:\n        for _ in range(6): os.fork()\n    finally: wait()",
    "threads": (
        _NAMED + "import _thread\n_thread.stack_size(2**16)\ndef f(x):\n    try:\n"
        "        for _ in range(50): _thread.start_new_thread(wait, ())\n    finally: wait()"
    ),
}
"""Small bombs: each starts about 50 processes or threads that wait. All have the name `{name}`, and wait for `{wait}` seconds."""
