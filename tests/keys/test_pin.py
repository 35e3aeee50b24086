"""PINs are asked for late, read exactly and shown nowhere."""

from __future__ import annotations

import logging
import os
import pickle
from functools import partial
from pathlib import Path

import pytest

from tokens.leaks import assert_shows_no
from vaxpass_sign.errors import InputError, PinError, VaxpassError
from vaxpass_sign.keys.pin import AskedOnce, hidden, pin_file, read_pin

PIN = "pin-93157"


@pytest.mark.parametrize(
    "given", [PIN, lambda: PIN, partial(str, PIN)], ids=["text", "function", "partial"]
)
def test_a_hidden_pin_is_read_and_never_shown(given: object) -> None:
    """A PIN given in any form reads as its bytes, and no repr shows it."""
    secret = hidden(given)  # type: ignore[call-overload]
    assert read_pin(secret) == PIN.encode()
    assert PIN not in repr(secret)
    assert hidden(secret) is secret


def test_a_function_is_called_only_when_the_pin_is_read() -> None:
    """Wrapping a function that asks for a PIN asks nothing."""
    asked: list[int] = []
    secret = hidden(lambda: asked.append(1) or PIN)
    assert asked == []
    read_pin(secret)
    assert asked == [1]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param("", PinError, id="empty"),
        pytest.param(PIN.encode(), InputError, id="bytes"),
        pytest.param(None, InputError, id="nothing"),
        pytest.param(PIN + "\udc80", InputError, id="not UTF-8"),
    ],
)
def test_a_bad_pin_is_refused_unseen(value: object, error: type[VaxpassError]) -> None:
    """What can't be a PIN is refused without being shown."""
    with pytest.raises(error) as caught:
        read_pin(hidden(lambda: value))  # type: ignore[arg-type, return-value]
    assert_shows_no(caught.value, PIN)


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file://localhost{}", "{}"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["bare", "newline", "CRLF"])
def test_pin_source_reads_a_file(tmp_path: Path, form: str, end: str) -> None:
    """A pin-source gives the file's text without the newline at its end."""
    path = tmp_path / "pin"
    path.write_bytes(f"{PIN} {end}".encode())
    path.chmod(0o600)
    assert read_pin(pin_file(form.format(path))) == f"{PIN} ".encode()


@pytest.mark.parametrize("source", ["|/bin/cat", "pin.txt", "https://example.org/pin", "file:pin"])
def test_pin_source_is_a_file_only(source: str) -> None:
    """A command, a relative path or an address is refused at once."""
    with pytest.raises(InputError, match="pin-source must be file:/path"):
        pin_file(source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "PIN is empty", id="empty"),
        pytest.param(b"\n", "PIN is empty", id="newline only"),
        pytest.param(PIN.encode() + b"\xff", "not UTF-8", id="binary"),
        pytest.param(PIN.encode() * 200, "larger than", id="too large"),
    ],
)
def test_a_bad_pin_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A PIN file that can't be used is a PinError, and its content is not shown."""
    path = tmp_path / "pin"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    with pytest.raises(PinError, match=words) as caught:
        read_pin(pin_file(f"file:{path}"))
    assert_shows_no(caught.value, PIN)


def test_a_pipe_is_no_pin_file(tmp_path: Path) -> None:
    """A named pipe is refused and not waited for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PinError, match="not a regular file"):
        read_pin(pin_file(str(tmp_path / "pipe")))


def test_a_readable_pin_file_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A PIN file that others may read still works, and a warning says so without the PIN."""
    path = tmp_path / "pin"
    path.write_text(PIN)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_pin(pin_file(str(path))) == PIN.encode()
    assert "chmod 600" in caplog.text
    assert PIN not in caplog.text


def test_another_process_gets_what_was_answered_hidden() -> None:
    """A Hidden that is pickled asks now, once, and is hidden again where it arrives."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return "1234"

    once = AskedOnce(hidden(ask))
    assert once.answered is None
    assert once.hidden is not None
    once.hidden()
    arrived = pickle.loads(pickle.dumps(once.answered))
    assert (repr(arrived), arrived()) == ("<hidden>", "1234")
    assert asked == [1]
