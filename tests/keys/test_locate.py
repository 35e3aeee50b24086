"""Modules are found where distributions put them: one, or an error that lists what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaxpass_sign.errors import InputError, ModuleError, VaxpassError
from vaxpass_sign.keys.locate import find_module, known_modules
from vaxpass_sign.keys.uri import Pkcs11Uri

SOFTHSM = "usr/lib/softhsm/libsofthsm2.so"
OPENSC = "usr/lib/x86_64-linux-gnu/pkcs11/opensc-pkcs11.so"
SPY = "usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so"
VENDOR = "usr/lib/pkcs11/libvendor.so"


def machine(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF")
    return root


@pytest.mark.parametrize(
    ("files", "uri", "expected"),
    [
        pytest.param((SOFTHSM, SPY), Pkcs11Uri(), SOFTHSM, id="the only known module"),
        pytest.param((SOFTHSM, OPENSC), Pkcs11Uri(module_name="softhsm2"), SOFTHSM, id="lib + .so"),
        pytest.param((SOFTHSM, OPENSC), Pkcs11Uri(module_name="SoftHSM2"), SOFTHSM, id="any case"),
        pytest.param((SOFTHSM, OPENSC), Pkcs11Uri(module_name="opensc-pkcs11"), OPENSC, id=".so"),
        pytest.param((SOFTHSM, OPENSC), Pkcs11Uri(module_name="opensc"), OPENSC, id="-pkcs11.so"),
        pytest.param(
            (SOFTHSM, VENDOR), Pkcs11Uri(module_name="vendor"), VENDOR, id="not well known"
        ),
    ],
)
def test_finds(tmp_path: Path, files: tuple[str, ...], uri: Pkcs11Uri, expected: str) -> None:
    """A module is found by its name, or by being the only one."""
    root = machine(tmp_path, *files)
    assert find_module(uri, root) == root / expected


@pytest.mark.parametrize(
    ("files", "uri", "error", "words"),
    [
        pytest.param(
            (), Pkcs11Uri(), ModuleError, ["softhsm2", "module-path"], id="none installed"
        ),
        pytest.param((SPY,), Pkcs11Uri(), ModuleError, ["no PKCS#11 module"], id="only the spy"),
        pytest.param(
            (SOFTHSM, OPENSC), Pkcs11Uri(), ModuleError, ["2 ", SOFTHSM, OPENSC], id="two installed"
        ),
        pytest.param(
            (SOFTHSM,), Pkcs11Uri(module_name="nix"), ModuleError, ["'nix'"], id="no such"
        ),
        pytest.param(
            (SOFTHSM, "usr/lib64/softhsm/libsofthsm2.so"),
            Pkcs11Uri(module_name="softhsm2"),
            ModuleError,
            ["2 PKCS#11 modules", "lib64"],
            id="name twice",
        ),
        pytest.param(
            (SOFTHSM,), Pkcs11Uri(module_name="../x"), InputError, ["bare name"], id="path"
        ),
        pytest.param(
            (SOFTHSM,), Pkcs11Uri(module_name=""), InputError, ["bare name"], id="empty name"
        ),
        pytest.param((), Pkcs11Uri(module_path="lib.so"), InputError, ["absolute"], id="relative"),
    ],
)
def test_refuses(
    tmp_path: Path,
    files: tuple[str, ...],
    uri: Pkcs11Uri,
    error: type[VaxpassError],
    words: list[str],
) -> None:
    """No module, several, or a name that is none: an error that lists and advises."""
    with pytest.raises(error) as caught:
        find_module(uri, machine(tmp_path, *files))
    for word in words:
        assert word in str(caught.value)


def test_links_count_once(tmp_path: Path) -> None:
    """A module and a link to it are one module."""
    root = machine(tmp_path, SOFTHSM)
    link = root / "usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / SOFTHSM)
    assert len(known_modules(root)) == 1


def test_a_path_and_a_name_together(tmp_path: Path) -> None:
    """With both given, the name is looked up in the path's folder."""
    root = machine(tmp_path, SOFTHSM)
    for path in (root / SOFTHSM, (root / SOFTHSM).parent):
        uri = Pkcs11Uri(module_path=str(path), module_name="softhsm2")
        assert find_module(uri, root) == root / SOFTHSM
    with pytest.raises(ModuleError, match="'opensc'"):
        find_module(Pkcs11Uri(module_path=str(root / SOFTHSM), module_name="opensc"), root)
