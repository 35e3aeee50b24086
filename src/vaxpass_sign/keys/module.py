"""A PKCS#11 module, loaded once in a process and initialised for threads.

Rules that this module keeps:

* C_Initialize promises the module that threads will call it and lets it lock with the operating
  system's primitives (PKCS#11 v2.40 §5.4). A module that can't lock is refused.
* One Module for each real file and process, however often it is loaded; the last close finalises
  it. If something else in the process had initialised it before, it is used as it is and never
  finalised.
* A Module does not survive a fork: the child gets a TokenError and loads its own.

>>> load_module("/nowhere/libtoken.so")
Traceback (most recent call last):
...
vaxpass_sign.errors.ModuleError: PKCS#11 module '/nowhere/libtoken.so' does not exist: install the
token's module (for SoftHSM: softhsm2) or correct module-path
"""

from __future__ import annotations

import ctypes
import logging
import os
from pathlib import Path
from threading import RLock
from typing import Final

from pkcs11._pkcs11 import HasFuncList, lib  # type: ignore[attr-defined]  # not in its stub
from pkcs11.exceptions import PKCS11Error

from vaxpass_sign.closing import Closing
from vaxpass_sign.errors import ModuleError, TokenError
from vaxpass_sign.files import open_regular
from vaxpass_sign.keys.cryptoki import Functions, Rv, function_list, rv_name

__all__ = ["Module", "load_module"]

_log: Final = logging.getLogger(__name__)
_ELF: Final = b"\x7fELF"


class _LockingLib(lib):
    """python-pkcs11's library object, without its C_Initialize: Module has made that call."""

    def initialize(self) -> None:
        """Do nothing; so ``initialized`` stays false and it never finalises either."""


class Module(Closing):
    """A loaded module; made by :func:`load_module` alone.

    It may be shared by threads. ``lib`` is python-pkcs11's object, ``functions`` the calls that
    are made past it. Close it as often as it was loaded.
    """

    def __init__(self, path: Path, parameters: str | None) -> None:
        self.path = path
        self.parameters = parameters
        self._pid = os.getpid()
        self._users = 0
        self.login_lock = RLock()
        """Held around a login, so that threads that open the same token log in one by one."""
        self.lib, self.functions = _load(path)
        rv = self.functions.initialize(parameters)
        self._ours = rv != Rv.CRYPTOKI_ALREADY_INITIALIZED
        if rv == Rv.CANT_LOCK:
            raise ModuleError(
                f"PKCS#11 module {str(path)!r} can't be used by threads (CKR_CANT_LOCK):"
                " ask its vendor for a version that locks"
            )
        if rv not in (Rv.OK, Rv.CRYPTOKI_ALREADY_INITIALIZED):
            raise ModuleError(
                f"PKCS#11 module {str(path)!r} could not be initialised ({rv_name(rv)}):"
                " check its settings and that the service it talks to runs"
            )
        try:
            self.lib.__init__(str(path))  # type: ignore[misc]  # the second half of making it
        except PKCS11Error as error:
            self._finalize()
            raise ModuleError(
                f"PKCS#11 module {str(path)!r} gives no information about itself"
                f" ({type(error).__name__}): check that it is the token's module"
            ) from error

    def check_process(self) -> None:
        """Raises: TokenError in a forked child of the process that loaded the module."""
        if os.getpid() != self._pid:
            raise TokenError(
                f"PKCS#11 module {self.path.name!r} was loaded before this process was forked"
                " and can't be used here: open the signer in the child, or start it with spawn"
            )

    def close(self) -> None:
        """Give the module up; the last of its users finalises it."""
        with _registry.lock:
            if self._users == 0 or os.getpid() != self._pid:
                return
            self._users -= 1
            if self._users == 0:
                del _registry.modules[self.path]
                self._finalize()

    def _finalize(self) -> None:
        rv = self.functions.finalize() if self._ours else Rv.OK
        if rv != Rv.OK:
            _log.info("C_Finalize of %s: %s", self.path.name, rv_name(rv))


class _Registry:
    """The modules that this process has loaded, by real path."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything; a forked child starts anew, and its lock may be held for ever."""
        self.lock = RLock()
        self.modules: dict[Path, Module] = {}


_registry: Final = _Registry()
os.register_at_fork(after_in_child=_registry.reset)


def load_module(path: str | os.PathLike[str], parameters: str | None = None) -> Module:
    """Load and initialise a PKCS#11 module, or share it when this process has done so.

    Loading runs the file's code with the rights of this process: take paths from nobody who may
    not run programs here.

    Args:
        path: an absolute path to a regular file.
        parameters: what goes into C_Initialize's pReserved, for modules such as NSS softokn that
            want it.
    Raises: ModuleError when there is no such file, or it isn't a PKCS#11 module, or it can't be
        initialised, or this process has it initialised with other parameters.
    """
    real = _checked(Path(path))
    with _registry.lock:
        module = _registry.modules.get(real)
        if module is None:
            module = _registry.modules[real] = Module(real, parameters)
        elif module.parameters != parameters:
            # They name the folder of its keys: what is open would be another token.
            raise ModuleError(
                f"PKCS#11 module {str(path)!r} is in use with another x-init-reserved:"
                " close what uses it first, or use another process"
            )
        module._users += 1
        return module


def _checked(path: Path) -> Path:
    """The real path of a file that can be a module; dlopen's own messages say less."""
    name = repr(str(path))
    if not path.is_absolute():
        raise ModuleError(f"PKCS#11 module {name}: the path must be absolute")
    try:
        with open_regular(path) as file:
            start = file.read(len(_ELF))
    except FileNotFoundError as error:
        raise ModuleError(
            f"PKCS#11 module {name} does not exist: install the token's module"
            " (for SoftHSM: softhsm2) or correct module-path"
        ) from error
    except OSError as error:
        raise ModuleError(f"PKCS#11 module {name} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ModuleError(
            f"PKCS#11 module {name} is {error}: name the module's file (.so)"
        ) from error
    if start != _ELF:
        raise ModuleError(
            f"PKCS#11 module {name} is not a shared library (ELF): name the module's file (.so)"
        )
    return path.resolve()


def _load(path: Path) -> tuple[_LockingLib, Functions]:
    """The library, for python-pkcs11 and for the calls past it, not initialised yet.

    python-pkcs11's object is half made: it has loaded the library in ``__new__`` and asks it for
    its name in ``__init__``, which a library answers only when it is initialised.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ModuleError(
            f"PKCS#11 module {str(path)!r} can't be loaded: {str(error).splitlines()[0]}"
        ) from error
    try:
        shared, again = function_list(library), function_list(library)
        half_made = _LockingLib.__new__(_LockingLib, str(path))  # type: ignore[call-arg]
        return half_made, Functions(shared if shared == again else _own_list(half_made))
    except (AttributeError, ValueError, PKCS11Error) as error:
        raise ModuleError(
            f"{str(path)!r} is a library but not a PKCS#11 module (no usable C_GetFunctionList):"
            " name the token's module"
        ) from error


def _own_list(loaded: _LockingLib) -> int:
    """The address of the function list that python-pkcs11's object calls through.

    Modules give everybody the same list, but for p11-kit's client: each C_GetFunctionList makes a
    new one, with a connection of its own, and a session of one is unknown to the other. So the
    calls past python-pkcs11 must go through its very list. No method tells it; it is the first
    field of the object (HasFuncList in _pkcs11.pyx).

    Raises: ValueError when the object does not begin like that.
    """
    header, pointers = object.__basicsize__, HasFuncList.__basicsize__ - object.__basicsize__
    if not issubclass(lib, HasFuncList) or pointers != 3 * ctypes.sizeof(ctypes.c_void_p):
        raise ValueError("python-pkcs11 has another layout than that of 0.10.1")
    address = ctypes.c_void_p.from_address(id(loaded) + header).value
    if not address:
        raise ValueError("python-pkcs11 has no function list")
    return address
