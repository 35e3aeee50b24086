"""A real PKCS#11 token made slow, busy or failing: builds p11proxy.c and drives its copies.

``build_library`` compiles once; each ``Proxy`` is a copy of the library in a directory of its own
with its own settings and counters, so that several may be used in one process. Give ``Proxy.path``
as the module-path, in this process or in any other: settings that are changed here hold at once in
all of them. p11proxy.c's first comment says what each setting does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("p11proxy.c")
FLAGS = "-shared -fPIC -O2 -std=gnu11 -Wall -Wextra -Werror -pthread".split()

# struct State of p11proxy.c.
STATE_BYTES = 16384
FAULT_ROW, FAULTS_AT, MAX_FAULTS = struct.Struct("=QQ"), 16, 256
SLOT_ROW, SLOTS_AT, MAX_SLOTS = struct.Struct("=QQQ"), 4112, 64
FUNCTION_ROW, FUNCTIONS_AT, FUNCTION_COUNT = struct.Struct("=32sQ"), 5648, 68

# struct flock: l_type, l_whence, l_start, l_len, l_pid.
FLOCK = struct.Struct("hhqqi4x")


class Ckr(IntEnum):
    """The return values that tests ask for, by their numbers in PKCS#11 v2.40; any int will do."""

    HOST_MEMORY = 0x2
    SLOT_ID_INVALID = 0x3
    GENERAL_ERROR = 0x5
    FUNCTION_FAILED = 0x6
    CANT_LOCK = 0xA
    DEVICE_ERROR = 0x30
    DEVICE_MEMORY = 0x31
    DEVICE_REMOVED = 0x32
    KEY_HANDLE_INVALID = 0x60
    OBJECT_HANDLE_INVALID = 0x82
    OPERATION_ACTIVE = 0x90
    OPERATION_NOT_INITIALIZED = 0x91
    PIN_INCORRECT = 0xA0
    PIN_EXPIRED = 0xA3
    PIN_LOCKED = 0xA4
    SESSION_CLOSED = 0xB0
    SESSION_COUNT = 0xB1
    SESSION_HANDLE_INVALID = 0xB3
    TOKEN_NOT_PRESENT = 0xE0
    TOKEN_NOT_RECOGNIZED = 0xE1
    USER_NOT_LOGGED_IN = 0x101
    BUFFER_TOO_SMALL = 0x150
    CRYPTOKI_NOT_INITIALIZED = 0x190


def build_library(directory: Path) -> Path:
    """Compile p11proxy.c into ``directory``; the path of the library.

    Raises: FileNotFoundError without a C compiler (``cc``); AssertionError with its messages.
    """
    built = directory / "p11proxy.so"
    command = ["cc", *FLAGS, "-o", str(built), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return built


@dataclass(frozen=True)
class Call:
    """A call that returned, in the order of returning; times are CLOCK_MONOTONIC, in ns."""

    process: int
    thread: int
    function: str
    called_ns: int
    served_ns: int
    """When a C_Sign got its place at the token; of other calls, the same as ``called_ns``."""
    ended_ns: int
    rv: int


def most_at_once(calls: Iterable[Call]) -> int:
    """How many of the calls were being served at the same time, at the most."""
    # An end sorts before a beginning at the same instant.
    steps = [(call.served_ns, 1) for call in calls] + [(call.ended_ns, -1) for call in calls]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


@dataclass(frozen=True)
class Fault:
    """A fault that was set; its counters stay after it was taken away."""

    proxy: Proxy
    id: int
    setting: str

    @property
    def hits(self) -> int:
        """How often it struck, in all processes."""
        return self.proxy.fault_row(self.id)[1]

    def clear(self) -> None:
        """Take it away; calls that hang by it go on."""
        self.proxy.clear(self)


class Proxy:
    """One copy of the library before a real module.

    It belongs to the process that made it, which alone may change settings; every process may use
    ``path``. Setting anything is done when the call returns: the next PKCS#11 call obeys it.

    Args:
        directory: an empty directory of its own, on a file system with locks.
        library: what ``build_library`` gave.
        module: the real module.
        sign_ms: how long a C_Sign takes.
        at_once: how many C_Sign the token serves at the same time, for all processes; 0: any.
        trace: keep every call for ``calls()``; costs a write for each call.
    """

    def __init__(
        self,
        directory: Path,
        library: Path,
        module: Path,
        *,
        sign_ms: float = 0,
        at_once: int = 0,
        trace: bool = False,
    ) -> None:
        self.directory = directory
        # Copied, and not linked: a loader tells libraries apart by their files.
        self.path = Path(shutil.copy(library, directory / "p11proxy.so"))
        with (directory / "state").open("w+b") as file:
            file.truncate(STATE_BYTES)
            self._state = mmap.mmap(file.fileno(), STATE_BYTES)
        self._settings = {"module": str(module)}
        self._faults: dict[int, Fault] = {}
        self._next_fault = 0
        self.set(sign_ms=sign_ms, at_once=at_once, trace=trace)

    def set(
        self,
        *,
        sign_ms: float | None = None,
        at_once: int | None = None,
        trace: bool | None = None,
    ) -> None:
        """Change settings; what is left out stays as it is."""
        if sign_ms is not None:
            self._settings["sign_ns"] = str(round(sign_ms * 1e6))
        if at_once is not None:
            self._settings["at_once"] = str(at_once)
        if trace is not None:
            self._settings["trace"] = str(int(trace))
        self._publish()

    def fail(
        self,
        function: str,
        action: str,
        *,
        at: int = 1,
        times: int | None = 1,
        each_process: bool = False,
    ) -> Fault:
        """Let a function fail, at the ``at``-th call of it from now.

        Args:
            function: ``C_Sign``, …
            action: ``CKR_DEVICE_ERROR`` or ``0x30`` (returned), ``hang``, ``hang:SECONDS``,
                ``kill``, ``remove`` (until ``plug_in``), ``remove:SECONDS``, ``expire`` or
                ``logout``.
            times: at so many calls; None is at all calls from then on.
            each_process: count each process's calls for itself, and not all calls together.
        """
        assert self._next_fault < MAX_FAULTS, "each Proxy has 256 faults: make another one"
        scope = "process" if each_process else "all"
        line = f"{self._next_fault} {function} {at} {times or 0} {scope} {_action(action)}"
        fault = Fault(self, self._next_fault, line)
        self._next_fault += 1
        self._faults[fault.id] = fault
        self._publish()
        return fault

    def clear(self, *faults: Fault) -> None:
        """Take these faults away, or all of them; a removed token stays removed."""
        for fault in faults or list(self._faults.values()):
            self._faults.pop(fault.id, None)
        self._publish()

    def plug_in(self) -> None:
        """Put a removed token back at once."""
        for row in range(MAX_SLOTS):
            at = SLOTS_AT + row * SLOT_ROW.size
            struct.pack_into("=Q", self._state, at + 16, 0)

    def counts(self) -> Counter[str]:
        """How often each function was called, in all processes, whether it failed or not."""
        counts: Counter[str] = Counter()
        for row in range(FUNCTION_COUNT):
            name, calls = FUNCTION_ROW.unpack_from(
                self._state, FUNCTIONS_AT + row * FUNCTION_ROW.size
            )
            if calls:
                counts[name.rstrip(b"\0").decode()] = calls
        return counts

    def fault_row(self, number: int) -> tuple[int, int]:
        """Calls counted and calls struck, of a fault."""
        calls, hits = FAULT_ROW.unpack_from(self._state, FAULTS_AT + number * FAULT_ROW.size)
        return calls, hits

    def calls(self, function: str | None = None) -> list[Call]:
        """The calls that returned while ``trace`` was set."""
        trace = self.directory / "trace"
        found = []
        for line in trace.read_text().splitlines() if trace.exists() else ():
            pid, thread, name, *numbers = line.split()
            if function in (None, name):
                called, served, ended, rv = (int(number, 0) for number in numbers)
                found.append(Call(int(pid), int(thread), name, called, served, ended, rv))
        return found

    def held(self) -> int:
        """How many of the ``at_once`` places at the token are taken by living processes."""
        locks = self.directory / "locks"
        if not locks.exists():
            return 0
        with locks.open("r+b") as file:
            places = range(1, int(self._settings["at_once"]) + 1)
            return sum(_is_locked(file.fileno(), place) for place in places)

    def complaints(self) -> str:
        """What the library could not do, such as settings that it did not understand."""
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def _publish(self) -> None:
        lines = [f"{name} {value}" for name, value in self._settings.items()]
        lines += [f"fault {fault.setting}" for fault in self._faults.values()]
        new = self.directory / "settings.new"
        new.write_text("\n".join(lines) + "\n")
        new.replace(self.directory / "settings")
        # Only now, so that who sees the new generation reads the new settings.
        [generation] = struct.unpack_from("=Q", self._state)
        struct.pack_into("=Q", self._state, 0, generation + 1)


def _action(text: str) -> str:
    """A fault's action as the settings write it."""
    word, _, seconds = text.partition(":")
    if word.startswith("CKR_"):
        return f"rv {Ckr[word.removeprefix('CKR_')]:#x}"
    if word.startswith("0x"):
        return f"rv {word}"
    if word == "remove" and not seconds:
        return f"remove {2**64 - 1}"
    assert word in ("hang", "kill", "remove", "expire", "logout"), f"no such fault: {text}"
    return f"{word} {round(float(seconds) * 1e9)}" if seconds else word


def _is_locked(file: int, byte: int) -> bool:
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
    [kind, *_] = FLOCK.unpack(answer)
    return bool(kind != fcntl.F_UNLCK)
