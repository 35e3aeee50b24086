"""No PIN is in any log, message, exception, file, argument or child process's environment.

Real processes sign with a PIN that is nowhere else on this machine. Everything logs at DEBUG. While
they run, the arguments and the environment of each process of their tree are read over and over;
afterwards all that they wrote is searched for the PIN, plain, in base64 and in hexadecimal.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import campaigns
import vaxpass_sign
from keys.leaking import told
from proxy.proxy import Proxy
from running import PROGRAM, RECORD, dsc_for_today, run_at_terminal
from tokens.softhsm import SoftHsm
from vaxpass_sign.x509 import pem

SCRIPT = Path(__file__).with_name("leaking.py")
VARIABLE = "THE_PIN_OF_THIS_RUN"

# Every Python process logs everything, and a worker's failures with all local variables.
SITE = """\
import logging, os, sys
sys.path.insert(0, {tests!r})
here = {logs!r} + "/" + str(os.getpid())
logging.basicConfig(
    level=logging.DEBUG, handlers=[logging.FileHandler(here + ".log"), logging.StreamHandler()]
)
import concurrent.futures.process as pool
from keys.leaking import told
class Told(pool._ExceptionWithTraceback):
    def __init__(self, error, trace):
        with open(here + ".worker", "a") as file:
            file.write(told(error))
        super().__init__(error, trace)
pool._ExceptionWithTraceback = Told
"""


def forms(secret: str) -> list[bytes]:
    """The bytes by which a secret shows: as it is, in hexadecimal, and in base64 at any place."""
    data = secret.encode()
    found = [data, data.hex().encode(), data.hex().upper().encode()]
    for before in range(3):
        text = base64.b64encode(bytes(before) + data)
        # The characters at both ends depend on what stands beside it.
        inner = text[-(-before * 8 // 6) : len(text) - 4]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    found.append(secret.encode("utf-16-le"))
    return found


def leaks(secret: str, *roots: Path, spare: tuple[Path, ...] = ()) -> list[str]:
    """The files below some folders that hold a secret, but for those that may."""
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [
        str(path)
        for path in files
        if path not in spare and any(form in path.read_bytes() for form in forms(secret))
    ]


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """Each form is found, wherever it begins; other words are not."""
    secret = secrets.token_hex(12)
    for number, written in enumerate(
        (
            secret.encode(),
            secret.encode().hex().encode(),
            *(base64.b64encode(bytes(n) + secret.encode() + bytes(2)) for n in range(6)),
            b"\0binary\xff" + secret.encode() + b"\0",
        )
    ):
        (tmp_path / str(number)).write_bytes(written)
    assert len(leaks(secret, tmp_path)) == 9
    assert leaks(secrets.token_hex(12), tmp_path) == []
    with pytest.raises(ValueError, match="empty") as caught:
        fail_with(secret)
    assert secret in told(caught.value)


def fail_with(secret: str) -> None:
    """An error whose frame holds a secret, behind another error that hides it."""
    try:
        raise KeyError(len(secret))
    except KeyError:
        raise ValueError("empty") from None


@dataclass
class Seen:
    """What was seen of a process."""

    main: bool
    """Whether it is the one that the test started; the others are its children."""
    arguments: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)


class Watch:
    """Reads arguments and environments of all processes that begin below this one, over and over."""

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self._ended = threading.Event()
        self._own = Path("/proc/self/cmdline").read_bytes()
        self._before = set(self._tree())

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            for pid, parent in self._tree().items():
                if pid not in self._before:
                    self._look(pid, parent)

    def _tree(self) -> dict[int, int]:
        """The processes below this one, each with its parent."""
        parents = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                stat = (place / "stat").read_text()
            except OSError:
                continue
            parents[int(place.name)] = int(stat.rpartition(")")[2].split()[1])
        below: dict[int, int] = {}
        waiting = [os.getpid()]
        while waiting:
            parent = waiting.pop()
            for child in [pid for pid, its in parents.items() if its == parent]:
                below[child] = parent
                waiting.append(child)
        return below

    def _look(self, pid: int, parent: int) -> None:
        try:
            # In this order: a process that is not yet what it will be still shows its parent's.
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return
        parents = self.seen[parent].arguments if parent in self.seen else {self._own}
        if not arguments or arguments in parents:
            return
        seen = self.seen.setdefault(pid, Seen(parent == os.getpid()))
        seen.arguments.add(arguments)
        seen.environments.add(environment)


@dataclass
class Place:
    """A token with a PIN of its own behind the proxy, and all that a run writes."""

    folder: Path
    hsm: SoftHsm
    wrong: str
    environment: dict[str, str]
    watch: Watch = field(default_factory=Watch)

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    def give(self, how: str, *, wrong: bool = False) -> tuple[str, list[str], dict[str, str]]:
        """URI, options and environment for a PIN that is given in this way; the file holds it."""
        pin = self.wrong if wrong else self.hsm.pin
        self.pin_file.touch(0o600)
        self.pin_file.write_text(pin)
        uri = self.hsm.uri("ec")
        if how == "source":
            return f"{uri}&pin-source=file:{self.pin_file}", [], {}
        if how == "variable":
            return uri, ["--pin-env", VARIABLE], {VARIABLE: pin}
        return uri, [], {}

    def run(self, how: str, command: list[object], environment: dict[str, str]) -> int:
        """Run a command to its end, watched; what it shows is kept. Its exit code."""
        environment = {**self.environment, **environment}
        with self.watch:
            if how == "prompt":
                answer = f"{self.pin_file.read_text()}\n".encode()
                arguments = command[len(PROGRAM) :]
                done = run_at_terminal(
                    *arguments,
                    cwd=self.folder,
                    answers=[(b"PIN of the token: ", answer)],
                    env=environment,
                )
                (self.folder / "terminal").write_text(done.text)
                assert done.answered == 1
                return done.code
            ended = subprocess.run(
                list(map(str, command)),
                capture_output=True,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                timeout=120,
                start_new_session=True,
            )
        (self.folder / "stdout").write_bytes(ended.stdout)
        (self.folder / "stderr").write_bytes(ended.stderr)
        return ended.returncode

    def assert_nothing_leaked(self, *, children: int = 0) -> None:
        """Neither PIN is in any file, argument, or environment that this program chose."""
        logs = list((self.folder / "logs").glob("*.log"))
        assert len(logs) > children
        mains = [seen for seen in self.watch.seen.values() if seen.main]
        others = [seen for seen in self.watch.seen.values() if not seen.main]
        assert len(mains) == 1
        assert len(others) >= children
        for secret in (self.hsm.pin, self.wrong):
            assert leaks(secret, self.folder, spare=(self.pin_file,)) == []
            for seen in (*mains, *others):
                assert not [a for a in seen.arguments for form in forms(secret) if form in a]
            for seen in others:
                assert not [e for e in seen.environments for form in forms(secret) if form in e]


@pytest.fixture
def place(
    tmp_path: Path, softhsm: SoftHsm, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    folder = tmp_path / "place"
    hsm = SoftHsm(tmp_path / "own", softhsm.module, pin=f"pin-{secrets.token_hex(12)}")
    (hsm.directory / "tokens").mkdir(parents=True)
    hsm.conf.write_text(f"directories.tokendir = {hsm.directory / 'tokens'}\n")
    hsm.add_token(hsm.token)
    hsm.keys["ec"] = ec.generate_private_key(ec.SECP256R1())
    hsm.import_key(hsm.keys["ec"], "ec", "a1")
    for name in ("logs", "site", "state"):
        (folder / name).mkdir(parents=True)
    tests = str(Path(__file__).parents[1])
    (folder / "site" / "sitecustomize.py").write_text(
        SITE.format(logs=str(folder / "logs"), tests=tests)
    )
    for name in ("PYTHONFAULTHANDLER", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    library = Path(vaxpass_sign.__file__).parents[1]
    environment = {
        "SOFTHSM2_CONF": str(hsm.conf),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{library}",
    }
    yield Place(
        folder, replace(hsm, module=proxy.path), f"wrong-{secrets.token_hex(12)}", environment
    )
    # The proxy's own files too: its trace, its log, its settings.
    assert leaks(hsm.pin, proxy.directory) == []


FAULTS = {
    "right": None,
    "wrong": None,
    "login fails": ("C_Login", "CKR_GENERAL_ERROR"),
    "signing fails": ("C_Sign", "CKR_DEVICE_ERROR"),
}


@pytest.mark.parametrize("how", ["prompt", "variable", "source"])
@pytest.mark.parametrize("case", FAULTS)
def test_issue(place: Place, proxy: Proxy, how: str, case: str) -> None:
    """One credential: signed, or refused, or failing at the login or at the signature."""
    proxy.set(trace=True)
    if fault := FAULTS[case]:
        proxy.fail(*fault, times=None)
    (place.folder / "record.json").write_text(json.dumps(RECORD))
    dsc = dsc_for_today("leaks", public_key=place.hsm.keys["ec"].public_key())
    (place.folder / "dsc.pem").write_bytes(pem(dsc.der))
    uri, options, environment = place.give(how, wrong=case == "wrong")
    command = [*PROGRAM, "issue", "--key", uri, "--dsc", "dsc.pem", *options, "record.json"]
    assert place.run(how, command, environment) == (0 if case == "right" else 2)
    assert proxy.counts()["C_Login"] >= 1
    place.assert_nothing_leaked()
    if how == "variable":
        # Whoever chose this way chose that the program's own environment shows it; and so it is
        # certain that it would have been seen in a child's.
        [main] = [seen for seen in place.watch.seen.values() if seen.main]
        pin = environment[VARIABLE].encode()
        assert [one for one in main.environments if pin in one]


CAMPAIGN_FAULTS = {
    "right": None,
    "wrong": None,
    "a worker is killed": ("C_Sign", "kill", 60),
    "a worker's PIN is refused": ("C_Login", "CKR_PIN_INCORRECT", 2),
    "a worker's login fails": ("C_Login", "CKR_GENERAL_ERROR", 2),
    "signing fails": ("C_Sign", "0x80001234", 60),
}
CODES = {"right": 0, "a worker is killed": 0, "a worker's login fails": 0}
"""0 where the run goes on; everything else ends it with 2."""


@pytest.mark.parametrize(
    ("how", "case"),
    [
        *(("variable", case) for case in CAMPAIGN_FAULTS),
        ("prompt", "right"),
        ("prompt", "a worker is killed"),
        ("source", "right"),
        ("source", "a worker's PIN is refused"),
    ],
)
def test_sign(place: Place, proxy: Proxy, how: str, case: str) -> None:
    """A campaign with two workers, which get the PIN and show it nowhere."""
    desk, options, environment = campaign(place, how, wrong=case == "wrong")
    if fault := CAMPAIGN_FAULTS[case]:
        function, action, at = fault
        proxy.fail(function, action, at=at)
    command = [*PROGRAM, "sign", desk.root, "--workers", "2", "--yes", *options]
    assert place.run(how, command, environment) == CODES.get(case, 2)
    place.assert_nothing_leaked(children=0 if case == "wrong" else 2)
    if case in CODES:
        assert len(desk.signed()) == 200


def campaign(place: Place, how: str, *, wrong: bool = False):
    """A cleaned campaign of 200 people, and how it gets its PIN."""
    uri, options, environment = place.give(how, wrong=wrong)
    desk = campaigns.Desk(place.folder / "desk", token=place.hsm)
    desk.write_settings(uri=uri)
    desk.clean(200)
    place.watch = Watch()
    return desk, options, environment


@pytest.mark.parametrize("case", ["right", "signing fails"])
@pytest.mark.parametrize("how", ["variable", "prompt"])
def test_token_doctor(place: Place, proxy: Proxy, how: str, case: str) -> None:
    """It measures with processes of its own, which get the PIN through a pipe."""
    if fault := FAULTS[case]:
        proxy.fail(*fault, times=None)
    uri, options, environment = place.give(how)
    command = [*PROGRAM, "token", "doctor", "--seconds", "0.1", *options, uri]
    assert place.run(how, command, environment) == (0 if case == "right" else 2)
    place.assert_nothing_leaked(children=1 if case == "right" else 0)


LIBRARY_FAULTS = {
    "right": None,
    "wrong": None,
    "locked": ("C_Login", "CKR_PIN_LOCKED"),
    "login fails": ("C_Login", "CKR_GENERAL_ERROR"),
    "login hangs": ("C_Login", "hang"),
    "login is interrupted": ("C_Login", "hang"),
    "signing fails": ("C_Sign", "0x80001234"),
    "lost for good": ("C_Sign", "CKR_DEVICE_ERROR"),
}


@pytest.mark.parametrize("give", ["text", "function", "source"])
@pytest.mark.parametrize("case", LIBRARY_FAULTS)
def test_open_signer(place: Place, proxy: Proxy, give: str, case: str) -> None:
    """Whatever fails: no frame of the error, and of its causes, has the PIN in a variable."""
    if fault := LIBRARY_FAULTS[case]:
        proxy.fail(*fault, times=None)
    uri, _, _ = place.give(give, wrong=case == "wrong")
    job = {
        "uri": uri,
        "pin_file": str(place.pin_file),
        "give": give,
        "told": str(place.folder / "told"),
        "patience_s": 0.5 if case == "login hangs" else 60,
        "interrupt_after_s": 1.5 if case == "login is interrupted" else 0,
    }
    ended = place.run(give, [sys.executable, SCRIPT, json.dumps(job)], {})
    proxy.clear()
    assert ended == (0 if case == "right" else 2)
    if ended:
        text = (place.folder / "told").read_text()
        assert "token_signer.py" in text  # the library's own frames are in it
    place.assert_nothing_leaked()


@pytest.mark.parametrize("give", ["text", "function"])
@pytest.mark.parametrize("case", [*CAMPAIGN_FAULTS, "no worker can be started"])
def test_campaign_sign(place: Place, proxy: Proxy, give: str, case: str) -> None:
    """The same of a whole run: the coordinator's errors, and each worker's."""
    desk, _, _ = campaign(place, give, wrong=case == "wrong")
    if fault := CAMPAIGN_FAULTS.get(case):
        function, action, at = fault
        proxy.fail(function, action, at=at)
    job = {
        "campaign": str(desk.root),
        "pin_file": str(place.pin_file),
        "give": give,
        "told": str(place.folder / "told"),
        "no_worker": case == "no worker can be started",
    }
    ended = place.run(give, [sys.executable, SCRIPT, json.dumps(job)], {})
    assert ended == CODES.get(case, 2)
    assert (place.folder / "told").exists() == (ended != 0)
    if case in ("a worker's PIN is refused", "signing fails"):
        failed = list((place.folder / "logs").glob("*.worker"))
        assert failed
        assert "worker.py" in "".join(path.read_text() for path in failed)
    started = case not in ("wrong", "no worker can be started")
    place.assert_nothing_leaked(children=2 if started else 0)
