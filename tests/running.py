"""The program as its users run it: as a process, at a terminal, and what a counter has on its desk."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from issuing import csca, private_key, sign_dsc, signer_of
from tokens.softhsm import PIN, SO_PIN, SoftHsm
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.prepare.doses import record_from_mapping
from vaxpass_sign.x509 import Certificate, pem

RECORD = {
    "full_name": "Nguyễn Thị Thí Dụ",
    "birth_date": "1987-04-12",
    "vaccine_name": "Pfizer",
    "dose_number": 2,
    "vaccination_date": "2021-11-20",
}
PERSONAL = ("Thí Dụ", "THI<DU", "1987", "04-12")
"""What of the record no message may repeat."""

C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TODAY = datetime.now(UTC).replace(microsecond=0)
PROGRAM = (sys.executable, "-m", "vaxpass_sign")


@dataclass
class Done:
    """What a run left: its exit code and what it wrote. No PIN and no traceback is ever in it."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        for text in (self.out, self.err):
            assert "Traceback" not in text
            assert PIN not in text
            assert SO_PIN not in text

    @property
    def message(self) -> str:
        """The one line on stderr, without the program's name; it repeats nothing personal."""
        [line] = self.err.splitlines()
        assert line.startswith("vaxpass-sign: ")
        assert not any(word in line for word in PERSONAL)
        assert line.isprintable()
        return line.removeprefix("vaxpass-sign: ")

    @property
    def objects(self) -> list[dict]:
        """stdout as JSON, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_program(
    *arguments: object,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Done:
    """Run the program as a process of its own, without a terminal."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=120,
        start_new_session=True,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Shown:
    """What a run at a terminal of 80 columns showed, and how many questions were answered."""

    code: int
    text: str
    answered: int


def run_at_terminal(
    *arguments: object,
    cwd: Path,
    answers: Sequence[tuple[bytes, bytes]] = (),
    stdin: Path | None = None,
    stdout: Path | None = None,
    env: dict[str, str] | None = None,
) -> Shown:
    """Run the program at a terminal; ``answers``: what to wait for, and what to type then."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "", **(env or {})}
    command = [*PROGRAM, *map(str, arguments)]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        if stdin is not None:
            os.dup2(os.open(stdin, os.O_RDONLY), 0)
        if stdout is not None:
            os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT), 1)
        os.execve(command[0], command, environment)
    shown, unseen, answered = b"", b"", 0
    give_up = time.monotonic() + 60
    try:
        while time.monotonic() < give_up:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break  # how Linux says that the other side has gone
            if not data:
                break
            shown, unseen = shown + data, unseen + data
            if answered < len(answers) and answers[answered][0] in unseen:
                os.write(terminal, answers[answered][1])
                unseen, answered = b"", answered + 1
    finally:
        os.close(terminal)
    status = os.waitpid(child, 0)[1]
    done = Done(os.waitstatus_to_exitcode(status), shown.decode(), "")
    return Shown(done.code, done.out, answered)


def dsc_for_today(name: str = "dsc", **changes: object) -> Certificate:
    """A DSC that is valid by the real clock, which the program goes by."""
    facts = {"not_before": TODAY - timedelta(days=200), "not_after": TODAY + timedelta(days=800)}
    return sign_dsc(name, **{**facts, **changes})


class Desk:
    """A folder with all that a counter has: a record, keys, DSCs, trust, and what was issued."""

    def __init__(self, folder: Path, softhsm: SoftHsm) -> None:
        self.record = folder / "record.json"
        self.key = folder / "key.pem"
        self.dsc_file = folder / "dsc.pem"
        self.token_dsc = folder / "token-dsc.pem"
        """For the key ``ec`` on the SoftHSM token."""
        self.csca = folder / "csca.pem"
        self.trust = folder / "trust"
        """A folder with both DSCs."""
        self.payload = folder / "payload.txt"

        key = private_key("dsc")
        self.dsc = dsc_for_today()
        issuer = Issuer(signer_of(key), self.dsc, "VN", "Bộ Y tế")
        self.text = issuer.issue(record_from_mapping(RECORD))
        """A valid credential of RECORD; the file ``payload`` holds it too."""
        self.payload.write_text(self.text + "\n")
        self.record.write_text(json.dumps(RECORD, ensure_ascii=False), encoding="utf-8")
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key.chmod(0o600)
        token_dsc = dsc_for_today("token", public_key=softhsm.keys["ec"].public_key())
        self.trust.mkdir()
        for path, certificate in (
            (self.csca, csca()),
            (self.dsc_file, self.dsc),
            (self.token_dsc, token_dsc),
            (self.trust / "dsc.pem", self.dsc),
            (self.trust / "token.pem", token_dsc),
        ):
            path.write_bytes(pem(certificate.der))
