"""The yardstick: C_SignInit + C_Sign on a token's key through ctypes, and nothing else.

It shares no code with the library. On SoftHSM the same loop in C was 0.5 to 6 % faster.
"""

from __future__ import annotations

import ctypes
import secrets
from typing import Any

__all__ = ["BareKey"]

# PKCS#11 v2.40: names and numbers are the standard's.
_ULONG, _POINTER = ctypes.c_ulong, ctypes.c_void_p
CKF_OS_LOCKING_OK, CKF_SERIAL_SESSION, CKU_USER = 2, 4, 1
CKA_CLASS, CKA_LABEL, CKO_PRIVATE_KEY = 0, 3, 3
CKM_ECDSA, CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256 = 0x1041, 0xD, 0x250, 2


# A function's place in CK_FUNCTION_LIST, behind its version.
PLACES = {
    "C_Initialize": 0,
    "C_GetSlotList": 4,
    "C_OpenSession": 12,
    "C_Login": 18,
    "C_FindObjectsInit": 26,
    "C_FindObjects": 27,
    "C_FindObjectsFinal": 28,
    "C_SignInit": 42,
    "C_Sign": 43,
}


class FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", _POINTER * 68))


class Attribute(ctypes.Structure):
    _fields_ = (("type", _ULONG), ("value", _POINTER), ("length", _ULONG))


class BareKey:
    """A key on a token and the two calls that sign with it; no code of the library."""

    def __init__(self, module: str, pin: str, label: str, rsa_bytes: int) -> None:
        library, found = ctypes.CDLL(module), ctypes.POINTER(FunctionList)()
        library.C_GetFunctionList(ctypes.byref(found))
        self._functions = found.contents.functions
        arguments = (ctypes.c_ulong * 6)(0, 0, 0, 0, CKF_OS_LOCKING_OK, 0)
        self._call("C_Initialize", arguments)
        self._session = self._log_in(self._slot(), pin.encode())
        self._key = self._find(label.encode())
        if rsa_bytes:
            self._parameters = (_ULONG * 3)(CKM_SHA256, CKG_MGF1_SHA256, 32)
            address, length = ctypes.addressof(self._parameters), ctypes.sizeof(self._parameters)
            self._mechanism = Attribute(CKM_RSA_PKCS_PSS, address, length)
        else:
            self._mechanism = Attribute(CKM_ECDSA, None, 0)  # laid out as a CK_MECHANISM is
        self._signature_bytes = rsa_bytes or 64

    def sign(self, count: int) -> None:
        """The bare loop."""
        sign_init = self._function("C_SignInit", _ULONG, _POINTER, _ULONG)
        sign = self._function("C_Sign", _ULONG, ctypes.c_char_p, _ULONG, ctypes.c_char_p, _POINTER)
        session, key, digest = self._session, self._key, secrets.token_bytes(32)
        mechanism = ctypes.byref(self._mechanism)
        signature = ctypes.create_string_buffer(self._signature_bytes)
        length = ctypes.byref(_ULONG(self._signature_bytes))
        for _ in range(count):
            rv = sign_init(session, mechanism, key) or sign(session, digest, 32, signature, length)
            if rv:
                raise SystemExit(f"the bare loop got CKR 0x{rv:x}")

    def _slot(self) -> int:
        """The only slot whose token is initialised: the first, as SoftHSM lists them."""
        slots, count = (_ULONG * 8)(), _ULONG(8)
        self._call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
        return slots[0]

    def _open(self, slot: int) -> int:
        session = _ULONG()
        self._call(
            "C_OpenSession", _ULONG(slot), _ULONG(CKF_SERIAL_SESSION), None, None,
            ctypes.byref(session),
        )  # fmt: skip
        return session.value

    def _log_in(self, slot: int, pin: bytes) -> int:
        session = self._open(slot)
        self._call("C_Login", _ULONG(session), _ULONG(CKU_USER), pin, _ULONG(len(pin)))
        return session

    def _find(self, label: bytes) -> int:
        kind, text = _ULONG(CKO_PRIVATE_KEY), ctypes.create_string_buffer(label, len(label))
        template = (Attribute * 2)(
            Attribute(CKA_CLASS, ctypes.addressof(kind), ctypes.sizeof(kind)),
            Attribute(CKA_LABEL, ctypes.addressof(text), len(label)),
        )
        session, key, found = _ULONG(self._session), _ULONG(), _ULONG()
        self._call("C_FindObjectsInit", session, template, _ULONG(2))
        self._call("C_FindObjects", session, ctypes.byref(key), _ULONG(1), ctypes.byref(found))
        self._call("C_FindObjectsFinal", session)
        if not found.value:
            raise SystemExit("the bare loop finds no private key on the token")
        return key.value

    def _call(self, name: str, *arguments: Any) -> None:
        # Whatever is no number is a pointer.
        numbers = (_ULONG, ctypes.c_ubyte)
        kinds = [type(value) if isinstance(value, numbers) else _POINTER for value in arguments]
        given = [ctypes.cast(v, _POINTER) if isinstance(v, ctypes.Array) else v for v in arguments]
        if rv := self._function(name, *kinds)(*given):
            raise SystemExit(f"{name} gave CKR 0x{rv:x}")

    def _function(self, name: str, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(_ULONG, *arguments)(self._functions[PLACES[name]])
