"""Layers: a room imports only rooms that stand above it, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vaxpass_sign"

ROOMS = (
    "errors",
    "closing",
    "files",
    "durable",
    "workers",
    "record",
    "hcert",
    "x509",
    "keys",
    "issuer",
    "check",
    "prepare",
    "campaign",
    "revocation",
    "qr",
    "sample",
    "demo",
    "cli",
)
"""From the top down; each may import what stands before it. docs/decisions says why."""

HEAVY = (
    "pyarrow",
    "duckdb",
    "numpy",
    "zxingcpp",
    "pypdfium2",
    "typer",
    "pkcs11",
    "PIL",
    "asn1crypto",
)


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The names of our modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "vaxpass_sign"}


MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if room_of(path) not in ("__init__", "__main__")
)


def test_every_room_has_its_place() -> None:
    """Each file belongs to a room that the order names, and each room of the order exists."""
    assert {room_of(path) for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_upwards_only(path: Path) -> None:
    """A module imports its own room and rooms above it."""
    place = ROOMS.index(room_of(path))
    for name in imports_of(path):
        parts = name.split(".")
        assert len(parts) > 1, f"{path} imports the whole package"
        if parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= place, f"{room_of(path)} imports {name}"


def test_import_is_light() -> None:
    """import vaxpass_sign imports nothing heavy; neither do verifying and its parts."""
    code = (
        "import sys, vaxpass_sign\n"
        "light = set(sys.modules)\n"
        "from vaxpass_sign import verify, inspect, TrustStore, VaccinationRecord\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "assert 'cryptography' not in light and 'cbor2' not in light\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_surface() -> None:
    """Every public name can be imported, and no other can."""
    import vaxpass_sign

    for name in vaxpass_sign.__all__:
        assert getattr(vaxpass_sign, name) is not None
    assert set(vaxpass_sign.__all__) <= set(dir(vaxpass_sign))
    with pytest.raises(AttributeError):
        vaxpass_sign.nothing  # noqa: B018
