"""QR picture → texts: of one symbol or all, from one PNG or JPEG of bounded size.

Whatever the bytes are, texts come out or InputError is raised, and no message repeats what a symbol
says.

>>> read_qr(b"GIF89a")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.InputError: the picture is neither PNG nor JPEG, expected ...
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from vaxpass_sign.errors import InputError
from vaxpass_sign.qr.extra import require_qr_extra
from vaxpass_sign.qr.symbols import MAX_SIDE, Symbols, find_symbols, hcerts_first

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_PIXELS",
    "PICTURE_MAGICS",
    "is_picture",
    "read_qr",
    "read_qrs",
]

MAX_PICTURE_BYTES = 32 * 1024 * 1024
MAX_PICTURE_PIXELS = 50_000_000
"""A phone's photo has 12 to 50 million pixels; a bomb of a few kilobytes can claim billions."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
PICTURE_MAGICS = (_PNG_MAGIC, _JPEG_MAGIC)

# Small pictures are enlarged and tried again: a symbol scaled below 2 pixels a module is still
# whole, but the detector needs more pixels to find its edges.
_ENLARGE = 4
_SMALL_SIDE = 1_000

# What Pillow was seen to raise on damaged files (it documents only OSError and SyntaxError).
_PICTURE_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError),
    *(ArithmeticError, AttributeError, MemoryError, struct.error, zlib.error),
    UserWarning,  # of damaged metadata, where the program turned warnings into errors
)


def is_picture(data: bytes) -> bool:
    """Whether ``data`` begins as a PNG or a JPEG does; the rest is not looked at."""
    return data.startswith(PICTURE_MAGICS)


def read_qr(picture: Path | str | bytes) -> str:
    """The text of the one QR symbol in a PNG or JPEG: a path, or the file's bytes.

    Beside symbols of other kinds, the one that begins as an HCERT does. Any orientation; light on
    dark too; transparent pictures on white, then on black.

    Raises: as :func:`read_qrs`; InputError, too, when there are several to choose from.
    """
    texts = read_qrs(picture).texts
    if len(texts) == 1:
        return texts[0]
    raise InputError(
        f"{len(texts)} QR codes were found in {_name(picture)}, expected exactly one; "
        "crop the picture to the one that is meant"
    )


def read_qrs(picture: Path | str | bytes) -> Symbols:
    """The texts of all HCERTs in a PNG or JPEG, at least one; of all QR symbols when none is one.

    Equal texts are given once.

    Raises: InputError when the file can't be read, is larger than MAX_PICTURE_BYTES or
    MAX_PICTURE_PIXELS, is damaged, or holds no QR symbol that can be read; MissingExtraError
    without extra ``qr``.
    """
    name = _name(picture)
    data = picture if isinstance(picture, bytes) else _read_bounded(Path(picture))
    if len(data) > MAX_PICTURE_BYTES:
        raise InputError(
            f"{name} is larger than {MAX_PICTURE_BYTES // 2**20} MiB; "
            "crop it to the QR code and try again"
        )
    require_qr_extra()
    try:
        greys = _greyscales(data, name)
    except _PICTURE_ERRORS as error:
        raise InputError(
            f"{name} is damaged, expected a whole PNG or JPEG; take or copy it again"
        ) from error
    tried = [_symbols(grey) for grey in greys]
    for found in tried:
        if found.texts:
            return Symbols(hcerts_first(found.texts), found.damaged)
    for found in tried:
        if found.damaged:
            raise found.error(name)
    raise InputError(
        f"no QR code was found in {name}, expected one; take the picture again: sharp, straight "
        "on, with the whole code and its white margin"
    )


def _name(picture: Path | str | bytes) -> str:
    return "the picture" if isinstance(picture, bytes) else str(picture)


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise InputError(f"{path} can't be read: {reason}; expected a PNG or JPEG") from error


def _greyscales(data: bytes, name: str) -> list[Image.Image]:
    """The picture as 8-bit grey, once for each background that its transparency may hide."""
    if not is_picture(data):
        raise InputError(
            f"{name} is neither PNG nor JPEG, expected one of these; save the picture as PNG"
        )
    from PIL import Image, JpegImagePlugin, PngImagePlugin

    # The plugins are used themselves, because Image.open tries other formats' code and prints a
    # warning before we could look at the size. The header alone is read here.
    opened: Image.Image
    if data.startswith(_PNG_MAGIC):
        opened = PngImagePlugin.PngImageFile(BytesIO(data))
    else:
        opened = JpegImagePlugin.JpegImageFile(BytesIO(_without_metadata(data)))
    width, height = opened.size
    if width * height > MAX_PICTURE_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(
            f"{name} has {width} x {height} pixels, expected at most {MAX_PICTURE_PIXELS // 10**6} "
            f"million and {MAX_SIDE} a side; crop it to the QR code and try again"
        )
    if opened.mode.startswith("I"):
        # 16 bits a pixel: Pillow would clip, not scale, them to 8.
        return [opened.convert("I").point(lambda value: value / 256).convert("L")]
    if "transparency" in opened.info:
        opened = opened.convert("RGBA")
    grey = opened.convert("L")
    if "A" not in opened.mode or (alpha := opened.getchannel("A")).getextrema() == (255, 255):
        return [grey]
    backgrounds = (Image.new("L", grey.size, colour) for colour in ("white", "black"))
    return [Image.composite(grey, below, alpha) for below in backgrounds]


def _without_metadata(jpeg: bytes) -> bytes:
    """The JPEG without its segments APP1 to APP13, up to the first scan (ITU-T T.81 §B.1.1.4).

    Pillow reads EXIF on opening and prints warnings of damage in it, and no QR symbol is there.
    """
    kept, start = [jpeg[:2]], 2
    while jpeg[start : start + 1] == b"\xff" and jpeg[start + 1 : start + 2] not in (b"", b"\xda"):
        end = start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big")
        if not 0xE1 <= jpeg[start + 1] <= 0xED:
            kept.append(jpeg[start:end])
        start = end
    return b"".join([*kept, jpeg[start:]])


def _symbols(grey: Image.Image) -> Symbols:
    from PIL import Image

    found = find_symbols(grey)
    if found.complete or max(grey.size) > _SMALL_SIDE:
        return found
    larger = (grey.width * _ENLARGE, grey.height * _ENLARGE)
    return found | find_symbols(grey.resize(larger, Image.Resampling.BICUBIC))
