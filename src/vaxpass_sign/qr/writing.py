"""Text → QR picture, PNG or SVG, of a size fit for print.

A module is 6 pixels of 1/300 inch, 0.508 mm: whole printer dots at 300 and 600 dpi, so that no
module comes out wider than its neighbour. A median HCERT (version 18) is 49 mm wide with its quiet
zone of 4 modules (ISO/IEC 18004 §5.3.8), one at the default limit (version 25) 64 mm. An SVG has
the same size in millimetres.

>>> check_qr_text("hc1:")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.InputError: character 1 of the text ... QR alphanumeric set ...
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

from vaxpass_sign.durable import write_file
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY, qr_version
from vaxpass_sign.qr.extra import require_qr_extra

__all__ = [
    "DOTS_PER_INCH",
    "MODULE_MM",
    "PIXELS_PER_MODULE",
    "check_picture_path",
    "check_qr_text",
    "qr_png",
    "qr_svg",
    "write_qr",
]

DOTS_PER_INCH = 300
PIXELS_PER_MODULE = 6
MODULE_MM = PIXELS_PER_MODULE * 25.4 / DOTS_PER_INCH
"""0.508 mm, in PNG and SVG alike."""

_ALPHANUMERIC = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


def check_qr_text(text: str, max_version: int = 25) -> int:
    """The version (1 to 40) of the symbol that ``text`` needs at level Q; call it before signing.

    Raises: InputError when the text is empty, has a character outside the QR alphanumeric set,
    or needs a version above ``max_version`` (25 unless configured, 40 at most). The text itself
    is never repeated in a message.
    """
    if not 1 <= max_version <= len(QR_CAPACITY):
        raise InputError(
            f"the largest QR version is set to {max_version}, expected 1 to {len(QR_CAPACITY)}; "
            "mend the setting"
        )
    if not text:
        raise InputError("the text for a QR code is empty, expected an HCERT that begins HC1:")
    for position, character in enumerate(text, start=1):
        if character not in _ALPHANUMERIC:
            raise InputError(
                f"character {position} of the text for a QR code is outside the QR alphanumeric "
                "set (0-9 A-Z space $%*+-./:), expected an HCERT that begins HC1:; "
                "give the text as it was issued"
            )
    version = qr_version(len(text))
    if version is None or version > max_version:
        needed = "more than version 40" if version is None else f"version {version}"
        raise InputError(
            f"the text has {len(text)} characters and needs a QR code of {needed}, expected at "
            f"most {QR_CAPACITY[max_version - 1]} characters (version {max_version}); "
            "shorten the longest free text of the record, or raise the limit (40 at most)"
        )
    return version


def check_picture_path(path: Path) -> None:
    """Check before anything is signed that a picture can be written there.

    Raises: InputError when the suffix is neither .png nor .svg, or the folder is missing;
    MissingExtraError without extra ``qr``.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(
            f"{path} ends in {path.suffix or 'no suffix'}, expected .png or .svg; "
            "rename the picture"
        )
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder, expected one for the picture; make it")
    require_qr_extra()


def write_qr(text: str, path: Path | str, *, max_version: int = 25) -> None:
    """Write ``text`` as a picture, PNG or SVG by the suffix of ``path``, whole or not at all.

    Raises: InputError when the suffix is another, the text does not fit (see
    :func:`check_qr_text`) or the file can't be written; MissingExtraError without extra ``qr``.
    """
    path = Path(path)
    check_picture_path(path)
    if path.suffix.lower() == ".png":
        data = qr_png(text, max_version=max_version)
    else:
        data = qr_svg(text, max_version=max_version).encode()
    write_file(path, data)


def qr_png(text: str, *, max_version: int = 25) -> bytes:
    """A PNG of 1 bit a pixel, PIXELS_PER_MODULE a module, that says DOTS_PER_INCH.

    Raises: as :func:`write_qr`.
    """
    rows = _modules(text, max_version)
    from PIL import Image

    side = len(rows)
    pixels = (side * PIXELS_PER_MODULE, side * PIXELS_PER_MODULE)
    grey = Image.frombytes("L", (side, side), b"".join(rows))
    picture = grey.convert("1", dither=Image.Dither.NONE).resize(pixels, Image.Resampling.NEAREST)
    out = BytesIO()
    picture.save(out, format="PNG", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return out.getvalue()


def qr_svg(text: str, *, max_version: int = 25) -> str:
    """An SVG of MODULE_MM a module: one path, a rectangle for each run of dark modules.

    Raises: as :func:`write_qr`.
    """
    rows = _modules(text, max_version)
    side, millimetres = len(rows), f"{len(rows) * MODULE_MM:.3f}mm"
    runs = "".join(
        f"M{start} {y}h{end - start}v1H{start}z"
        for y, row in enumerate(rows)
        for start, end in _dark_runs(row)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{millimetres}" height="{millimetres}" '
        f'viewBox="0 0 {side} {side}" shape-rendering="crispEdges">\n'
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/>\n'
        f'<path fill="#000" d="{runs}"/>\n'
        "</svg>\n"
    )


def _modules(text: str, max_version: int) -> list[bytes]:
    """The symbol with its quiet zone: a row is a byte a module, 0 dark and 255 light."""
    check_qr_text(text, max_version)
    require_qr_extra()
    import zxingcpp

    symbol = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="Q")
    # An image gives its pixels by the buffer protocol, which the package's stub leaves out.
    image: Any = symbol.to_image(scale=1, add_quiet_zones=True)
    pixels = memoryview(image).tobytes()
    side = math.isqrt(len(pixels))
    return [pixels[start : start + side] for start in range(0, len(pixels), side)]


def _dark_runs(row: bytes) -> list[tuple[int, int]]:
    runs, start = [], row.find(0)
    while start >= 0:
        light = row.find(255, start)
        end = light if light >= 0 else len(row)
        runs.append((start, end))
        start = row.find(0, end)
    return runs
