"""Text ⇄ picture: QR symbols of HCERTs (eu-dcc-hcert-spec §4.3.2), in alphanumeric mode, level Q.

:func:`check_qr_text` says whether a text fits before it is signed; :func:`write_qr`,
:func:`read_qr`, :func:`read_qrs` and :func:`read_pdf` need the extra ``qr`` (zxing-cpp, pillow,
pypdfium2), which is imported when they are called.

>>> check_qr_text("HC1:" + "A" * 551)
18
"""

from __future__ import annotations

from vaxpass_sign.qr.pages import MAX_PAGES
from vaxpass_sign.qr.pdf import MAX_PDF_BYTES, PDF_MAGIC, PdfPage, is_pdf, read_pdf
from vaxpass_sign.qr.reading import (
    MAX_PICTURE_BYTES,
    MAX_PICTURE_PIXELS,
    PICTURE_MAGICS,
    is_picture,
    read_qr,
    read_qrs,
)
from vaxpass_sign.qr.symbols import Symbols
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

MAGICS = (*PICTURE_MAGICS, PDF_MAGIC)
"""How a file begins that holds pictures of symbols."""

__all__ = [
    "DOTS_PER_INCH",
    "MAGICS",
    "MAX_PAGES",
    "MAX_PDF_BYTES",
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_PIXELS",
    "MODULE_MM",
    "PIXELS_PER_MODULE",
    "PdfPage",
    "Symbols",
    "check_picture_path",
    "check_qr_text",
    "is_pdf",
    "is_picture",
    "qr_png",
    "qr_svg",
    "read_pdf",
    "read_qr",
    "read_qrs",
    "write_qr",
]
