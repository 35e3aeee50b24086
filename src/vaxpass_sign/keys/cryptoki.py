"""The PKCS#11 functions that are called here and not through python-pkcs11, by ctypes.

python-pkcs11 (0.10.1) opens sessions, finds objects, reads attributes and makes keys. These few
calls are made past it, through the module's own function list (PKCS#11 v2.40 §5.4):

* C_Initialize, to promise locking: python-pkcs11 passes NULL, which promises one thread, and
  then lets go of the GIL around every call, so that two threads crash the module.
* C_Login and C_GetSessionInfo: python-pkcs11 ties the login to one session and logs the whole
  application out when that session is closed.
* C_InitToken, which it lacks, and C_InitPIN, which goes with it.
* C_SignInit and C_Sign: its sign() builds the mechanism anew and asks for the length first, two
  calls of C_Sign for each signature. On SoftHSM it reaches 0.86 of the rate of the bare calls,
  and on a network HSM the question costs a round trip.

>>> rv_name(0xA0), rv_name(0x80001234)
('CKR_PIN_INCORRECT', 'CKR 0x80001234')
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

__all__ = ["Functions", "Mechanism", "Rv", "fault_hint", "function_list", "is_lost", "rv_name"]


class Rv(IntEnum):
    """The return values that a message names or that decide something here (CK_RV)."""

    OK = 0x0
    HOST_MEMORY = 0x2
    SLOT_ID_INVALID = 0x3
    GENERAL_ERROR = 0x5
    FUNCTION_FAILED = 0x6
    ARGUMENTS_BAD = 0x7
    CANT_LOCK = 0xA
    DATA_LEN_RANGE = 0x21
    DEVICE_ERROR = 0x30
    DEVICE_MEMORY = 0x31
    DEVICE_REMOVED = 0x32
    FUNCTION_CANCELED = 0x50
    FUNCTION_NOT_SUPPORTED = 0x54
    KEY_HANDLE_INVALID = 0x60
    KEY_FUNCTION_NOT_PERMITTED = 0x68
    MECHANISM_INVALID = 0x70
    MECHANISM_PARAM_INVALID = 0x71
    OBJECT_HANDLE_INVALID = 0x82
    OPERATION_ACTIVE = 0x90
    PIN_INCORRECT = 0xA0
    PIN_INVALID = 0xA1
    PIN_LEN_RANGE = 0xA2
    PIN_EXPIRED = 0xA3
    PIN_LOCKED = 0xA4
    SESSION_CLOSED = 0xB0
    SESSION_COUNT = 0xB1
    SESSION_HANDLE_INVALID = 0xB3
    SESSION_EXISTS = 0xB6
    TOKEN_NOT_PRESENT = 0xE0
    TOKEN_NOT_RECOGNIZED = 0xE1
    TOKEN_WRITE_PROTECTED = 0xE2
    USER_ALREADY_LOGGED_IN = 0x100
    USER_NOT_LOGGED_IN = 0x101
    USER_PIN_NOT_INITIALIZED = 0x102
    USER_ANOTHER_ALREADY_LOGGED_IN = 0x104
    BUFFER_TOO_SMALL = 0x150
    CRYPTOKI_NOT_INITIALIZED = 0x190
    CRYPTOKI_ALREADY_INITIALIZED = 0x191


def rv_name(rv: int) -> str:
    """The name of a return value, or its number when a module invents its own."""
    try:
        return f"CKR_{Rv(rv).name}"
    except ValueError:
        return f"CKR 0x{rv:x}"


_GONE: Final = "check that the token is plugged in and its service runs, then open it again"
_LOST: Final = "the session was lost: close the signer and open it again"
_LOGGED_OUT: Final = "something logged the token out: close the signer, open it with the PIN"
_BUSY: Final = "the token is busy or out of memory: close what else uses it, then try again"
_MAY_COME_BACK: Final = frozenset({_GONE, _LOST, _LOGGED_OUT, _BUSY})
_HINTS: Final = {
    "DEVICEERROR": _GONE,
    "DEVICEREMOVED": _GONE,
    "GENERALERROR": _GONE,
    "TOKENNOTPRESENT": _GONE,
    "TOKENNOTRECOGNIZED": _GONE,
    "SLOTIDINVALID": _GONE,
    "CRYPTOKINOTINITIALIZED": _LOST,
    "KEYHANDLEINVALID": _LOST,
    "OBJECTHANDLEINVALID": _LOST,
    "OPERATIONACTIVE": _LOST,
    "SESSIONCLOSED": _LOST,
    "SESSIONHANDLEINVALID": _LOST,
    "USERNOTLOGGEDIN": _LOGGED_OUT,
    "DEVICEMEMORY": _BUSY,
    "FUNCTIONFAILED": _BUSY,
    "HOSTMEMORY": _BUSY,
    "SESSIONCOUNT": _BUSY,
    "KEYFUNCTIONNOTPERMITTED": "the key may not sign: use one that was made for signing",
    "TOKENWRITEPROTECTED": "the token is write-protected: remove the protection first",
}


def fault_hint(name: str) -> str:
    """What to try after a failure, by its name: ``CKR_DEVICE_REMOVED`` or ``DeviceRemoved``."""
    return _HINTS.get(_plain(name), "see the manual of the token's module for this code")


def is_lost(name: str) -> bool:
    """Whether a failure of this name may end when the token is opened again.

    Modules disagree on what they say of a token that is gone (CKR_DEVICE_ERROR, GENERAL_ERROR,
    OBJECT_HANDLE_INVALID, DEVICE_REMOVED …), so all of these are one case.

    >>> is_lost("CKR_DEVICE_REMOVED"), is_lost("GeneralError"), is_lost("CKR_PIN_LOCKED")
    (True, True, False)
    """
    return _HINTS.get(_plain(name)) in _MAY_COME_BACK


def _plain(name: str) -> str:
    """A name of the standard or of python-pkcs11: ``CKR_GENERAL_ERROR``, ``GeneralError``."""
    return name.removeprefix("CKR_").replace("_", "").upper()


# --- structures of PKCS#11 v2.40 §3; all of them have C's natural alignment on Linux ----------

_ULONG = ctypes.c_ulong
_POINTER = ctypes.c_void_p

# The order is the standard's (CK_FUNCTION_LIST), up to the last function that is used here.
_NAMES: Final = (
    "Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo"
    " GetMechanismList GetMechanismInfo InitToken InitPIN SetPIN OpenSession CloseSession"
    " CloseAllSessions GetSessionInfo GetOperationState SetOperationState Login Logout"
    " CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue SetAttributeValue"
    " FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal"
    " DecryptInit Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate DigestKey"
    " DigestFinal SignInit Sign"
).split()


class _FunctionList(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_ubyte),
        ("minor", ctypes.c_ubyte),
        *((name, _POINTER) for name in _NAMES),
    ]


class _InitializeArgs(ctypes.Structure):
    _fields_ = [
        ("create_mutex", _POINTER),
        ("destroy_mutex", _POINTER),
        ("lock_mutex", _POINTER),
        ("unlock_mutex", _POINTER),
        ("flags", _ULONG),
        ("reserved", ctypes.c_char_p),
    ]


class _SessionInfo(ctypes.Structure):
    _fields_ = [
        ("slot_id", _ULONG),
        ("state", _ULONG),
        ("flags", _ULONG),
        ("device_error", _ULONG),
    ]


class _PssParams(ctypes.Structure):
    _fields_ = [("hash", _ULONG), ("mgf", _ULONG), ("salt_length", _ULONG)]


class Mechanism(ctypes.Structure):
    """CK_MECHANISM, ready for C_SignInit; it holds its own parameters alive."""

    _fields_ = [
        ("type", _ULONG),
        ("parameter", _POINTER),
        ("parameter_length", _ULONG),
    ]

    @classmethod
    def of(cls, number: int) -> Mechanism:
        """A mechanism without parameters."""
        return cls(number, None, 0)

    @classmethod
    def pss_sha256(cls, number: int) -> Mechanism:
        """A PSS mechanism with SHA-256, MGF1-SHA256 and a salt of 32 bytes (RFC 8230 §2)."""
        ckm_sha256, ckg_mgf1_sha256 = 0x250, 0x2
        params = _PssParams(ckm_sha256, ckg_mgf1_sha256, 32)
        mechanism = cls(number, ctypes.addressof(params), ctypes.sizeof(params))
        mechanism._params = params  # kept for as long as the pointer to it
        return mechanism


_OS_LOCKING_OK: Final = 0x2
_USER: Final = 1
_SO: Final = 0
_CONTEXT_SPECIFIC: Final = 2
_USER_STATES: Final = (1, 3)  # CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS


def function_list(library: ctypes.CDLL) -> int:
    """The address of the function list that C_GetFunctionList gives.

    Raises: AttributeError when the library has no C_GetFunctionList; ValueError when it fails.
    """
    get_list = library.C_GetFunctionList
    get_list.restype = _ULONG
    get_list.argtypes = [_POINTER]
    pointer = _POINTER()
    rv = get_list(ctypes.byref(pointer))
    if rv != Rv.OK or not pointer.value:
        raise ValueError(f"C_GetFunctionList gave {rv_name(rv)}")
    return pointer.value


class Functions:
    """A module's function list, as far as it is used here.

    Each method makes one call, lets go of the GIL while it runs, and returns its CK_RV.

    Args:
        address: where the list is; it must be one.
    Raises: ValueError when the list leaves out a function that is needed.
    """

    def __init__(self, address: int) -> None:
        table = _FunctionList.from_address(address)
        self._initialize = _bind(table, "Initialize", _POINTER)
        self._finalize = _bind(table, "Finalize", _POINTER)
        self._init_token = _bind(
            table, "InitToken", _ULONG, ctypes.c_char_p, _ULONG, ctypes.c_char_p
        )
        self._init_pin = _bind(table, "InitPIN", _ULONG, ctypes.c_char_p, _ULONG)
        self._session_info = _bind(table, "GetSessionInfo", _ULONG, _POINTER)
        self._login = _bind(table, "Login", _ULONG, _ULONG, ctypes.c_char_p, _ULONG)
        self.sign_init = _bind(table, "SignInit", _ULONG, _POINTER, _ULONG)
        """C_SignInit(session, Mechanism by reference, key)."""
        self.sign = _bind(table, "Sign", _ULONG, ctypes.c_char_p, _ULONG, ctypes.c_char_p, _POINTER)
        """C_Sign(session, data, its length, buffer, c_ulong by reference)."""

    def initialize(self, parameters: str | None) -> int:
        """C_Initialize with CKF_OS_LOCKING_OK; ``parameters`` goes into pReserved."""
        reserved = None if parameters is None else parameters.encode()
        args = _InitializeArgs(None, None, None, None, _OS_LOCKING_OK, reserved)
        return self._initialize(ctypes.byref(args))

    def finalize(self) -> int:
        """C_Finalize."""
        return self._finalize(None)

    def init_token(self, slot_id: int, so_pin: bytes, label: bytes) -> int:
        """C_InitToken; ``label`` is 32 bytes, padded with blanks."""
        return self._init_token(slot_id, so_pin, len(so_pin), label)

    def init_pin(self, session: int, pin: bytes) -> int:
        """C_InitPIN: set the user PIN, logged in as the SO."""
        return self._init_pin(session, pin, len(pin))

    def login(self, session: int, pin: bytes | None, *, so: bool = False) -> int:
        """C_Login as the user, or as the SO; no PIN means the token's own PIN pad."""
        return self._login(session, _SO if so else _USER, pin, len(pin or b""))

    def authenticate(self, session: int, pin: bytes | None) -> int:
        """C_Login for the one operation that was begun, with a key that asks for it each time."""
        return self._login(session, _CONTEXT_SPECIFIC, pin, len(pin or b""))

    def is_user(self, session: int) -> bool:
        """True when this application is logged in as the user on the session's token."""
        info = _SessionInfo()
        rv = self._session_info(session, ctypes.byref(info))
        return rv == Rv.OK and info.state in _USER_STATES


def _bind(table: _FunctionList, name: str, *arguments: Any) -> Callable[..., int]:
    address = getattr(table, name)
    if not address:
        raise ValueError(f"its function list has no C_{name}")
    return ctypes.CFUNCTYPE(_ULONG, *arguments)(address)
