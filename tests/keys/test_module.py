"""PKCS#11 modules: loaded once, initialised for threads, finalised by the last user."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pkcs11._pkcs11
import pytest

from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import ModuleError
from vaxpass_sign.keys.cryptoki import function_list
from vaxpass_sign.keys.module import _own_list, load_module

ALREADY_INITIALIZED = 0x191


def test_one_object_for_each_file(softhsm: SoftHsm, tmp_path: Path) -> None:
    """The same file by another path is the same module; its last close finalises it."""
    link = tmp_path / "token.so"
    link.symlink_to(softhsm.module)
    library = ctypes.CDLL(str(softhsm.module))
    with load_module(softhsm.module) as first:
        with load_module(link) as second:
            assert second is first
        assert library.C_Initialize(None) == ALREADY_INITIALIZED
        assert first.lib.get_slots()
    assert library.C_Initialize(None) == 0
    assert library.C_Finalize(None) == 0


def test_a_module_in_use_elsewhere_is_left_initialised(softhsm: SoftHsm) -> None:
    """A module that something else in the process initialised is used, and never finalised."""
    library = ctypes.CDLL(str(softhsm.module))
    assert library.C_Initialize(None) == 0
    try:
        with load_module(softhsm.module) as module:
            assert module.lib.get_slots()
        assert library.C_Initialize(None) == ALREADY_INITIALIZED
    finally:
        assert library.C_Finalize(None) == 0


def test_other_parameters_are_refused_while_it_is_in_use(softhsm: SoftHsm) -> None:
    """pReserved names a module's keys: what is open with another one would be another token."""
    with load_module(softhsm.module):
        with load_module(softhsm.module):
            pass
        with pytest.raises(ModuleError, match="in use with another x-init-reserved"):
            load_module(softhsm.module, "configdir='sql:/a'")
    # Not in use any more, it is passed on, and SoftHSM refuses it.
    with pytest.raises(ModuleError, match="CKR_ARGUMENTS_BAD"):
        load_module(softhsm.module, "configdir='sql:/a'")


def test_the_list_that_python_pkcs11_calls_through_is_known(softhsm: SoftHsm) -> None:
    """Read from its object for modules with a list for each caller; SoftHSM has one for all."""
    with load_module(softhsm.module) as module:
        assert _own_list(module.lib) == function_list(ctypes.CDLL(str(softhsm.module)))


def test_closing_too_often_does_nothing(softhsm: SoftHsm) -> None:
    """Closing more often than loading is harmless, and the module can be loaded again."""
    module = load_module(softhsm.module)
    module.close()
    module.close()
    with load_module(softhsm.module) as again:
        assert again is not module
        assert again.lib.manufacturer_id == "SoftHSM"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, ["does not exist", "softhsm2"], id="missing"),
        pytest.param(lambda path: path.mkdir(), ["is a directory"], id="directory"),
        pytest.param(os.mkfifo, ["not a regular file"], id="pipe"),
        pytest.param(lambda path: path.touch(), ["not a shared library"], id="empty"),
        pytest.param(lambda path: path.write_text("text"), ["not a shared library"], id="text"),
        pytest.param(
            lambda path: path.write_bytes(b"\x7fELF" + bytes(60)), ["can't be loaded"], id="bad ELF"
        ),
        pytest.param(
            lambda path: path.symlink_to(pkcs11._pkcs11.__file__),
            ["not a PKCS#11 module", "C_GetFunctionList"],
            id="another library",
        ),
        pytest.param(lambda path: path.symlink_to(path), ["can't be read"], id="link to itself"),
    ],
)
def test_refuses_what_is_no_module(tmp_path: Path, make: object, words: list[str]) -> None:
    """What is no PKCS#11 module is one line that names the file and says what it is."""
    path = tmp_path / "token.so"
    make(path)  # type: ignore[operator]
    with pytest.raises(ModuleError) as caught:
        load_module(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message or (word == str(path) and str(path.resolve()) in message)


def test_a_relative_path_is_refused() -> None:
    """A module is never looked up in the current directory or the loader's path."""
    with pytest.raises(ModuleError, match="must be absolute"):
        load_module("libsofthsm2.so")


def test_a_module_that_cannot_start(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that fails to initialise is a ModuleError, and nothing of it is kept."""
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm.directory / "missing.conf"))
    with pytest.raises(ModuleError, match=r"could not be initialised \(CKR_"):
        load_module(softhsm.module)
    monkeypatch.undo()
    with load_module(softhsm.module) as module:
        assert module.lib.get_slots()
