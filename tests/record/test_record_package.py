"""The record room as a package: what it exports, and what importing it costs."""

import subprocess
import sys

import pytest

import vaxpass_sign.record as package


def test_exports() -> None:
    """Every name that the package lists is there, and no other."""
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith("vaxpass_sign.record.")
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("vaxpass_sign.record", ["vaxpass_sign.record.model", "hmac", "json"]),
        (
            "vaxpass_sign.record.model",
            ["hmac", "secrets", "json", "pathlib", "importlib.resources"],
        ),
        ("vaxpass_sign.record.uvci", ["secrets", "vaxpass_sign.record.model"]),
    ],
)
def test_light_imports(module: str, absent: list[str]) -> None:
    """Importing a module of this room loads nothing that its first use can load."""
    heavy = ["numpy", "pyarrow", "cryptography", "cbor2", "typer", "asn1crypto", *absent]
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"
