"""How many wrong PINs in a row were sent to each token from this account of this machine.

The tokens of Vietnam's government lock after three wrong PINs, and unlocking one means a journey. A
token should say itself that only one try is left (CKF_USER_PIN_FINAL_TRY), but NSS and TPMs never
do. So each refused PIN is noted here by the token's serial number, and a PIN that was accepted
clears the note. No PIN is kept, nor anything that is made from one.

The notes are in a small file of the user's state folder. When it can't be read or written, that is
logged, and the token's own flags are all there is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

from vaxpass_sign.durable import in_turn, make_directory, write_file
from vaxpass_sign.errors import InputError

__all__ = ["LAST_SAFE", "clear_tries", "note_refusal", "refusals"]

LAST_SAFE: Final = 2
"""After so many refusals in a row the next one may lock a token; it is sent only when forced."""

_MAX_BYTES: Final = 64 * 1024
_log: Final = logging.getLogger(__name__)


def refusals(serial: str) -> int:
    """Wrong PINs in a row that are noted for the token with this serial number."""
    try:
        return _read(_path()).get(serial, 0)
    except OSError as error:
        _log.warning("the notes of refused PINs can't be read: %s", error.strerror)
        return 0


def note_refusal(serial: str) -> None:
    """Note one more wrong PIN."""
    _change(serial, lambda before: before + 1)


def clear_tries(serial: str) -> None:
    """Forget the wrong PINs: the token has accepted one."""
    if refusals(serial):
        _change(serial, lambda _: 0)


def _path() -> Path:
    return platformdirs.user_state_path("vaxpass-sign") / "refused-pins.json"


def _change(serial: str, new: Callable[[int], int]) -> None:
    path = _path()
    try:
        make_directory(path.parent)
        with in_turn(path.with_suffix(".lock")):
            notes = _read(path)
            count = new(notes.pop(serial, 0))
            if count:
                notes[serial] = count
            write_file(path, json.dumps(notes, indent=1).encode())
    except (OSError, InputError) as error:
        _log.warning("a refused PIN can't be noted in %s: %s", path, error)


def _read(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            notes = json.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        _log.warning("the notes of refused PINs in %s can't be read and are begun anew", path)
        return {}
    pairs = notes.items() if isinstance(notes, dict) else ()
    return {str(k): v for k, v in pairs if type(v) is int and v > 0}
