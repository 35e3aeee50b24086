"""Text ⇄ picture: QR symbols of HCERTs (eu-dcc-hcert-spec §4.3.2), in alphanumeric mode, level Q.

:func:`check_qr_text` says whether a text fits before it is signed; :func:`write_qr` and
:func:`read_qr` need the extra ``qr`` (zxing-cpp, pillow), which is imported when they are called.

>>> check_qr_text("HC1:" + "A" * 551)
18
"""

from __future__ import annotations

from vaxpass_sign.qr.reading import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS, is_picture, read_qr
from vaxpass_sign.qr.writing import (
    DOTS_PER_INCH,
    MODULE_MM,
    PIXELS_PER_MODULE,
    check_picture_path,
    check_qr_text,
    qr_png,
    qr_svg,
    write_qr,
)

__all__ = [
    "DOTS_PER_INCH",
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_PIXELS",
    "MODULE_MM",
    "PIXELS_PER_MODULE",
    "check_picture_path",
    "check_qr_text",
    "is_picture",
    "qr_png",
    "qr_svg",
    "read_qr",
    "write_qr",
]
