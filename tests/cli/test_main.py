"""The program as a whole: help, wrong words, and faults of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vaxpass_sign.check.asked
from vaxpass_sign.cli.app import COMMANDS


def test_help_lists_every_command(vaxpass) -> None:
    """--help says in a line what each command does."""
    done = vaxpass("--help")
    assert (done.code, done.err) == (0, "")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].*[^.]\.$", done.out, re.MULTILINE), name


def test_without_arguments_help_is_shown(vaxpass) -> None:
    """Nothing at all is answered by the help, with the exit code of a wrong use."""
    done = vaxpass()
    assert done.code == 2
    assert "Commands:" in done.err


TOKEN = ("list", "new-key", "csr", "import-dsc")
REVOKE = ("add", "export", "key", "import", "check")
TRUST = ("add", "show")
PARTS = [
    [group, name]
    for group, names in (("token", TOKEN), ("trust", TRUST), ("revoke", REVOKE))
    for name in names
]


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + PARTS, ids=str)
def test_each_command_has_help(vaxpass, command: list[str]) -> None:
    """--help of a command is exit 0 and goes to stdout."""
    done = vaxpass(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f" {' '.join(command)} [OPTIONS]" in done.out.splitlines()[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["verify", "--nonsense"],
        ["verify", "--at"],
        ["issue"],
        ["issue", "--key", "k", "--dsc", "d", "--validity-days", "0", "r"],
        ["token", "nonsense"],
        ["token", "new-key"],
        ["trust", "add"],
        ["trust", "nonsense"],
        ["token", "csr", "pkcs11:object=dsc", "--country", "VN", "--organisation", "x"],
        ["token", "import-dsc", "pkcs11:object=dsc"],
        ["revoke", "nonsense"],
        ["revoke", "add"],
        ["revoke", "export", "register", "out", "--key", "k"],
        ["revoke", "key", "00", "campaign"],
        ["revoke", "import", "store", "batches"],
        ["demo"],
        ["demo", "x", "--people", "0"],
        ["demo", "x", "--people", "many"],
    ],
    ids=" ".join,
)
def test_wrong_words_are_exit_2(vaxpass, arguments: list[str]) -> None:
    """What the program can't make sense of is exit 2, and stderr says so; stdout is empty."""
    done = vaxpass(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


def test_a_fault_of_our_own_shows_no_value(vaxpass, desk, monkeypatch) -> None:
    """What nobody foresaw is one line with the place in the code, and nothing of the input."""

    def broken(text: str, *_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(vaxpass_sign.check.asked, "verify", broken)
    done = vaxpass("verify", "--trust", desk.trust, stdin=desk.text.encode())
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"a fault of .* \(RuntimeError in broken:\d+\): report it", done.message)
    assert desk.text not in done.err


def test_the_installed_script_is_the_same_program(desk) -> None:
    """vaxpass-sign and python -m vaxpass_sign both verify."""
    script = Path(sys.executable).with_name("vaxpass-sign")
    ran = subprocess.run(
        [script, "verify", "--trust", desk.trust, desk.payload], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_closed_streams_are_no_fault(desk) -> None:
    """With stdin, stdout and stderr closed the exit code still answers."""
    command = f"{sys.executable} -m vaxpass_sign verify --trust {desk.trust}"
    for redirect, code in (
        (f"{desk.payload} 2>&-", 0),
        ("nowhere.txt 2>&-", 2),
        (f"{desk.payload} >&-", 2),
        ("<&-", 2),
    ):
        ran = subprocess.run(["sh", "-c", f"{command} {redirect}"], capture_output=True, text=True)
        assert ran.returncode == code, redirect
        assert "Traceback" not in ran.stderr + ran.stdout
