"""What each module does, found by using it, and docs/reference/tokens.md, which says it.

``PYTHONPATH=tests python tests/tokens/findings.py`` writes the page anew. It needs all six modules.
"""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tokens.device import Device, finished
from tokens.devices import MODULES, Devices
from tokens.p11kit import RemoteHsm
from tokens.piv import SmartCard
from tokens.tpm2 import Tpm
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.cose import encode_protected, sig_structure

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tokens.md"
ALGS = {"ec": Alg.ES256, "rsa": Alg.PS256}
PAYLOADS = [cbor2.dumps({1: "VN", 4: 1_800_000_000, -260: {1: {"n": n}}}) for n in range(6)]
KID = bytes.fromhex("a0b1c2d3e4f50617")
WRONG_PIN = "00000000"

SHA256_MECHANISMS = {"ec": "CKM_ECDSA", "rsa": "CKM_RSA_PKCS_PSS"}
"""Those that sign a hash; hidden, a token can only hash and sign."""


def sig_structures(kind: str) -> list[str]:
    """What is signed for each payload, in hexadecimal digits."""
    protected = encode_protected(ALGS[kind], KID)
    return [sig_structure(protected, payload).hex() for payload in PAYLOADS]


class Findings:
    """What was found, looked for once."""

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.signed = cache(self._signed)
        self.new_key = cache(self._new_key)
        self.wrong_pin = cache(self._wrong_pin)
        self.lost = cache(self._lost)
        self.look = cache(self._look)

    def _signed(
        self, name: str, kind: str, sessions: int = 1, hashing: bool = False
    ) -> dict[str, Any]:
        device = self.devices.get(name)
        if kind not in device.keys:
            return {"error": "no such key", "message": "", "mechanisms": []}
        return device.probe(
            do="sign",
            uri=device.uri(device.keys[kind]),
            messages=sig_structures("ec" if kind == "PIN always" else kind),
            sessions=sessions,
            hide=[SHA256_MECHANISMS[kind]] if hashing else [],
        )

    def _new_key(self, name: str, kind: str) -> dict[str, Any]:
        """On a TPM of its own: it has room for three objects, and a failure leaves some there."""
        own = name == "tpm2"
        device = self.devices.make(name, f"{name}-{kind}") if own else self.devices.get(name)
        try:
            return device.probe(do="new-key", uri=device.uri(f"new {kind}"), kind=kind)
        finally:
            if own:
                device.close()

    def _wrong_pin(self, name: str) -> dict[str, Any]:
        """A wrong PIN once, and then the right one, which sets the count of tries back."""
        device = self.devices.get(name)
        kind = next(iter(device.keys))
        job = {"do": "sign", "uri": device.uri(device.keys[kind]), "messages": ["00"]}
        refused = device.probe(**job, pin=WRONG_PIN)
        refused["after"] = device.probe(**job)
        return refused

    def _lost(self, name: str) -> str:
        """What a run says when the token's server, or its reader, ends and comes back."""
        device = self.devices.get(name)
        if isinstance(device, RemoteHsm):
            return "signs on" if "signatures" in lose_server(device, 0.2, 5000) else "ends"
        if isinstance(device, Tpm):
            return "signs on" if "signatures" in lose_tpm(device) else "ends"
        if isinstance(device, SmartCard):
            found = lose_reader(device)
            return "ends, sends no PIN again" if found["pins"] == 1 else "ends"
        return "can't be: it is in the process" if not device.servers else "not tried"

    def _look(self, name: str) -> dict[str, Any]:
        return self.devices.get(name).probe(do="look")


def public_key(device: Device, kind: str, signed: dict[str, Any]) -> Any:
    """The public key that signatures are verified with: from elsewhere if it is known there."""
    told = load_pem_public_key(signed["public"].encode())
    known = device.public.get(kind, told)
    assert known == told
    return known


def lose_server(device: RemoteHsm, away_s: float, count: int, **job: Any) -> dict[str, Any]:
    """Kill the server in the midst of a batch, and start it again after ``away_s``."""
    running = device.start(do="batch", uri=device.uri("ec"), count=count, **job)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    device.servers[0].kill()
    time.sleep(away_s)
    device.start_server()
    return finished(running)


def lose_tpm(device: Tpm) -> dict[str, Any]:
    """Kill the TPM in the midst of a batch, and start it again with its state."""
    running = device.start(do="batch", uri=device.uri("ec"), count=300, begun=50)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    device.servers[0].kill()
    device.start_tpm()
    return finished(running)


def lose_reader(device: SmartCard) -> dict[str, Any]:
    """End the reader in the midst of a batch, and start it again."""
    running = device.start(do="batch", uri=device.uri(device.keys["ec"]), count=30, begun=5)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    device.servers[-1].kill()
    device.start_reader()
    return finished(running)


# --- the page ------------------------------------------------------------------------------

INTRODUCTION = """\
# Tokens

What the library does with six independent PKCS#11 modules. Each cell was found by a test: it signs
through `open_signer` in a process of its own, and pycose verifies the COSE_Sign1 that comes of it.
`make test` does it again and compares; `PYTHONPATH=tests python tests/tokens/findings.py` writes this
page anew. A module of another version than the one named here is not compared.

- **ES256**, **PS256**: the mechanism that was used, or "no" when the token offers none that serves:
  signing is refused with a TokenError then, which names the two mechanisms. Never RS256, and never a
  PSS padding put together here.
- **Hashing**: the mechanism that is used when the token takes messages and not hashes.
- **4 sessions**: four signatures under way at once in one process.
- **New key**: what `token new-key` can make.
- **Wrong PIN**: what happens when a wrong one is given; it is sent once.
- **Lost**: what a batch does when the token's server or reader is killed and comes back. With several
  sessions of p11-kit's client in one process it may end with a TokenStalledError instead: threads that
  wait for an answer are not always woken. One session a process, in several processes, is safe.
"""

COLUMNS = "Module|Version|ES256|PS256|Hashing|4 sessions|New key|Wrong PIN|Lost".split("|")


def rows(findings: Findings, names: list[str]) -> dict[str, list[str]]:
    """The table's rows by module."""
    return {name: _row(findings, name) for name in names}


def _row(findings: Findings, name: str) -> list[str]:
    device = findings.devices.get(name)
    kinds = [kind for kind in ALGS if "signatures" in findings.signed(name, kind)]
    hashing = [findings.signed(name, kind, hashing=True) for kind in kinds]
    sessions = all("signatures" in findings.signed(name, kind, sessions=4) for kind in kinds)
    new = [kind.upper() for kind in ALGS if "checked" in findings.new_key(name, kind)]
    refused = findings.wrong_pin(name)
    return [
        device.name,
        findings.look(name)["version"],
        *(_mechanism(findings.signed(name, kind)) for kind in ALGS),
        ", ".join(_mechanism(found) for found in hashing if "signatures" in found) or "no",
        "yes" if sessions else "no",
        ", ".join(new) or "no",
        f"{refused['error']}, sent {refused['pins']} time",
        findings.lost(name),
    ]


def _mechanism(found: dict[str, Any]) -> str:
    return ", ".join(found["mechanisms"]) if "signatures" in found else "no"


def page(findings: Findings) -> str:
    """docs/reference/tokens.md."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *rows(findings, list(MODULES)).values()]
    lines = [f"| {' | '.join(row)} |" for row in table]
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def committed_rows() -> dict[str, list[str]]:
    """The committed table's rows by the device's name."""
    lines = PAGE.read_text("utf-8").splitlines()
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    return {row[0]: row for row in found[2:]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        devices = Devices(Path(folder))
        try:
            PAGE.write_text(page(Findings(devices)), "utf-8")
        finally:
            devices.close()


if __name__ == "__main__":
    main()
