"""The program, run in this process for tables of inputs, and in one of its own for the rest."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from running import Desk, Done, Shown, run_at_terminal, run_program
from tokens.softhsm import SoftHsm
from vaxpass_sign.cli import main


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsm) -> Desk:
    """Made once; nobody changes it."""
    return Desk(tmp_path_factory.mktemp("desk"), softhsm)


@pytest.fixture
def vaxpass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the program in this process: ``vaxpass("verify", "-", stdin=b"HC1:…")``."""

    def run(*arguments: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["vaxpass-sign", *map(str, arguments)])
        piped = io.BufferedReader(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped, encoding="utf-8"))
        capsys.readouterr()
        # A process has an environment of its own, and the program takes --pin-env's variable out of it.
        environment = dict(os.environ)
        with pytest.raises(SystemExit) as ended:
            main()
        os.environ.update(environment)
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def program() -> Callable[..., Done]:
    """Run the program as a process: ``program("verify", path, env={…})``."""
    return run_program


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., Shown]:
    """Run the program at a terminal: ``terminal("issue", …, answers=[(b"PIN", b"1234\\n")])``."""

    def run(*arguments: object, **options: Any) -> Shown:
        return run_at_terminal(*arguments, cwd=tmp_path, **options)

    return run
