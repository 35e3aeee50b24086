"""Find a PKCS#11 module's file on this machine.

Rules that this module keeps: a path comes from the URI's module-path, or from its module-name
looked up where distributions and vendors install modules, or is the only well-known module that
is installed. One file, or an error that lists what was found; never the first of several.

>>> from vaxpass_sign.keys.uri import Pkcs11Uri
>>> find_module(Pkcs11Uri(module_path="/opt/vendor/libpkcs11.so"))
PosixPath('/opt/vendor/libpkcs11.so')
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vaxpass_sign.errors import InputError, ModuleError
from vaxpass_sign.keys.uri import Pkcs11Uri

__all__ = ["find_module", "known_modules"]

_DIRECTORIES: Final = (
    "usr/lib/*/pkcs11",
    "usr/lib/pkcs11",
    "usr/lib64/pkcs11",
    "usr/lib/softhsm",
    "usr/lib/*/softhsm",
    "usr/lib64/softhsm",
    "usr/local/lib/pkcs11",
    "usr/local/lib/softhsm",
    "usr/local/lib",
    "usr/lib/*-linux-gnu*",
    "usr/lib/*/opencryptoki",
    "usr/lib64/opencryptoki",
    "usr/lib64",
    "usr/lib",
    "opt/*/lib",
    "opt/*/lib64",
    "opt/nfast/toolkits/pkcs11",
    "usr/safenet/lunaclient/lib",
)
# File names, so that `token list` finds what is installed. Left out on purpose: pkcs11-spy (it
# logs the PIN), p11-kit's proxy and client (they show other modules' tokens a second time) and
# modules that hold certificates only.
_KNOWN: Final = (
    "libsofthsm2.so",
    "opensc-pkcs11.so",
    "libykcs11.so",
    "yubihsm_pkcs11.so",
    "libtpm2_pkcs11.so",
    "libtpm2_pkcs11.so.1",
    "libeToken.so",
    "libeTPkcs11.so",
    "libcastle.so.1.0.0",
    "libCryptoki2_64.so",
    "libcknfast.so",
    "libcloudhsm_pkcs11.so",
    "libcs_pkcs11_R3.so",
    "libopencryptoki.so",
    "libbit4xpki.so",
)


def known_modules(root: Path = Path("/")) -> list[Path]:
    """The well-known modules that are installed below ``root``, each file once, sorted."""
    found = (folder / name for folder in _folders(root) for name in _KNOWN)
    return _distinct(path for path in found if path.is_file())


def find_module(uri: Pkcs11Uri, root: Path = Path("/")) -> Path:
    """The module that a URI means; whether it can be loaded is seen when it is.

    Raises: InputError for a path that isn't absolute or a name that isn't one; ModuleError when
        no module is found, or several.
    """
    if uri.module_path is not None:
        path = Path(uri.module_path)
        if not path.is_absolute():
            raise InputError(
                "module-path must be absolute, such as /usr/lib/softhsm/libsofthsm2.so"
            )
        if uri.module_name is None:
            return path
        # Given both, the path may be the folder that the name is looked up in (RFC 7512 §2.4).
        return _by_name(uri.module_name, [path] if path.is_dir() else [path.parent])
    if uri.module_name is not None:
        return _by_name(uri.module_name, _folders(root))
    known = known_modules(root)
    if len(known) == 1:
        return known[0]
    if not known:
        raise ModuleError(
            "no PKCS#11 module was found on this machine: install the token's module"
            " (Debian: softhsm2, opensc-pkcs11) or name it with ?module-path=/path/to/module.so"
        )
    raise ModuleError(
        f"{len(known)} PKCS#11 modules are installed ({', '.join(map(str, known))}):"
        " add ?module-path=… with one of them to the URI"
    )


def _by_name(name: str, folders: Iterable[Path]) -> Path:
    """The module ``<name>.so``, ``lib<name>.so`` or ``<name>-pkcs11.so``; the case is ignored."""
    if not name or "/" in name:
        raise InputError("module-name must be a bare name, such as softhsm2; a path is module-path")
    lower = name.lower()
    wanted = {f"{lower}.so", f"lib{lower}.so", f"{lower}-pkcs11.so", f"lib{lower}-pkcs11.so"}
    files = (path for folder in folders for path in _entries(folder))
    found = _distinct(path for path in files if path.name.lower() in wanted and path.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModuleError(
            f"no PKCS#11 module named {name!r} was found where modules are installed:"
            " install it (Debian: softhsm2, opensc-pkcs11) or give ?module-path=/path/to/module.so"
        )
    raise ModuleError(
        f"{len(found)} PKCS#11 modules are named {name!r} ({', '.join(map(str, found))}):"
        " give ?module-path=… with one of them"
    )


def _folders(root: Path) -> list[Path]:
    found = (folder for pattern in _DIRECTORIES for folder in sorted(root.glob(pattern)))
    return [folder for folder in found if folder.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # a folder that can't be read holds no module that could be loaded


def _distinct(paths: Iterable[Path]) -> list[Path]:
    """One path for each real file, sorted; links to the same file count once."""
    by_file: dict[Path, Path] = {}
    for path in paths:
        by_file.setdefault(path.resolve(), path)
    return sorted(by_file.values())
