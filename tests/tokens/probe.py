"""Use a token in a process of its own: a job as a line of JSON in, what was found as one out.

The jobs, by ``do``: ``sign`` opens the signer, signs, closes, and does it once more; ``batch`` opens
and signs once, and prints ``begun`` after some signatures; ``new-key`` makes a key pair; ``look`` tells
what the module is. What the library really asked the module for is told as well: the mechanisms and
how many PINs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.mechanisms import Mechanism

from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.keys import open_signer, token_signer
from vaxpass_sign.keys.cryptoki import Functions
from vaxpass_sign.keys.newkey import new_key
from vaxpass_sign.keys.session import open_session
from vaxpass_sign.keys.uri import Pkcs11Uri

BEGUN = 200


class Record:
    """What went to the module: kept by standing in the way of each call."""

    def __init__(self, begun: int) -> None:
        self.pins = 0
        self.signatures = 0
        self.mechanisms: set[int] = set()
        made, login = Functions.__init__, Functions.login

        def make(functions: Functions, address: int) -> None:
            made(functions, address)
            sign_init = functions.sign_init

            def noted(session: int, mechanism: Any, key: int) -> int:
                self.mechanisms.add(mechanism._obj.type)
                self.signatures += 1
                if self.signatures == begun:
                    print("begun", flush=True)
                return sign_init(session, mechanism, key)

            functions.sign_init = noted

        def send(functions: Functions, session: int, pin: bytes | None, *, so: bool = False) -> int:
            self.pins += 1
            return login(functions, session, pin, so=so)

        Functions.__init__ = make  # type: ignore[method-assign]
        Functions.login = send  # type: ignore[method-assign]


class WithoutMechanisms:
    """A slot that doesn't offer some of its mechanisms."""

    def __init__(self, slot: Any, hidden: Sequence[str]) -> None:
        self._slot = slot
        self._hidden = hidden
        self.get_mechanism_info = slot.get_mechanism_info

    def get_mechanisms(self) -> set[Any]:
        """The others."""
        offered = self._slot.get_mechanisms()
        return {item for item in offered if f"CKM_{getattr(item, 'name', '')}" not in self._hidden}


def hide(names: Sequence[str]) -> None:
    """Let the signer see slots that don't offer these mechanisms."""
    choose = token_signer._scheme

    def chosen(slot: Any, *rest: Any) -> Any:
        return choose(WithoutMechanisms(slot, names), *rest)

    token_signer._scheme = chosen


def sign(job: dict[str, Any]) -> dict[str, Any]:
    messages = [bytes.fromhex(text) for text in job["messages"]]
    found: dict[str, Any] = {}
    for name in ("signatures", "again"):
        with open_signer(job["uri"], job["pin"], sessions=job.get("sessions", 1)) as signer:
            found["alg"] = signer.alg.name
            key = signer.public_key
            if key is not None:
                info = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                found["public"] = info.decode()
            found[name] = [signature.hex() for signature in signer.sign(messages)]
    return found


def batch(job: dict[str, Any]) -> dict[str, Any]:
    messages = [b"message %d" % number for number in range(job["count"])]
    with open_signer(
        job["uri"],
        job["pin"],
        sessions=job.get("sessions", 1),
        patience_s=job.get("patience_s", 60),
    ) as signer:
        began = time.monotonic()
        signatures = signer.sign(messages)
        took = time.monotonic() - began
    return {"signatures": [signature.hex() for signature in signatures], "took": took}


def make_key(job: dict[str, Any]) -> dict[str, Any]:
    made = new_key(Pkcs11Uri.parse(job["uri"]), job["pin"], job["kind"])
    return {"checked": made.checked}


def look(job: dict[str, Any]) -> dict[str, Any]:
    with open_session(Pkcs11Uri.parse(job["uri"])) as opened:
        library = opened.module.lib
        return {
            "version": ".".join(map(str, library.library_version)),
            "library": library.library_description,
        }


def main() -> None:
    job = json.loads(sys.stdin.readline())
    record = Record(job.get("begun", BEGUN))
    hide(job.get("hide", ()))
    jobs = {"sign": sign, "batch": batch, "new-key": make_key, "look": look}
    try:
        found = jobs[job["do"]](job)
    except VaxpassError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    names = sorted(f"CKM_{Mechanism(number).name}" for number in record.mechanisms)
    print(json.dumps({**found, "mechanisms": names, "pins": record.pins}), flush=True)


if __name__ == "__main__":
    main()
