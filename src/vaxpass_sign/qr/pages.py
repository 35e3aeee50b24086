"""The child that reads a PDF: limits on itself first, then each page → grey pixels → texts.

PDF is a large language and its readers have a history of holes, so nothing of a PDF is looked at in
the process that asks. :mod:`vaxpass_sign.qr.pdf` starts ``main`` in a process of its own, with the
file on standard input, and reads a JSON object a line from its standard output: ``{"pages": 3}``,
then for each page ``{"page": 1, "texts": [...], "damaged": 0}`` or ``{"page": 1, "error": word}``;
or ``{"error": word}`` alone.

The limits hold against files that crash, hang or swell. They are no sandbox: who finds a hole in
PDFium that runs code runs it as this user.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from typing import Any, Final

from vaxpass_sign.qr.symbols import MAX_SIDE, Symbols, find_symbols

__all__ = ["MAX_PAGES", "MAX_PAGE_PIXELS", "limit_self", "main", "scales_of"]

MAX_PAGES: Final = 100
MAX_PAGE_PIXELS: Final = 50_000_000
"""A4 at 600 dpi has 35 million; a larger page is drawn smaller."""

_DPI: Final = (300, 600)
"""A symbol of version 25 that is 2 cm wide has 2 pixels a module at 300 dpi; the second is for
smaller ones, and for what the first doesn't read. A page of which the first reads all that it sees
is not tried again: a symbol that it does not see, below 13 mm for version 25, is missed then."""

_POINTS_PER_INCH: Final = 72
_NO_PASSWORD_GIVEN: Final = 4  # FPDF_ERR_PASSWORD of fpdfview.h


def main() -> None:
    """Read the PDF on standard input; arguments: bytes of memory, seconds of processor."""
    limit_self(*map(int, sys.argv[1:]))
    _read(sys.stdin.buffer.read())


def limit_self(memory: int, seconds: int) -> None:
    """Limit this process for good to so many bytes of address space and seconds of processor."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),  # a core file would hold personal data
        (resource.RLIMIT_FSIZE, 0),  # nothing is written but to the pipe
        (resource.RLIMIT_NOFILE, 64),
    ):
        _limit(what, most)
    # At the soft limit comes SIGXCPU, which tells why; at the hard one, a second later, SIGKILL.
    _limit(resource.RLIMIT_CPU, seconds + 1, seconds)


def _limit(what: int, most: int, soft: int | None = None) -> None:
    # Raising a limit that is lower already is not allowed, nor wanted.
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most if soft is None else min(soft, most), most))


def _read(data: bytes) -> None:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        needs_password = error.err_code == _NO_PASSWORD_GIVEN
        _say({"error": "password" if needs_password else "damaged"})
        return
    pages = len(document)
    if not 0 < pages <= MAX_PAGES:
        _say({"error": "pages", "pages": pages})
        return
    _say({"pages": pages})
    for index in range(pages):
        # Said page by page: what was read before a page that ends this process is not lost.
        try:
            found = _symbols(document, index)
        except (pypdfium2.PdfiumError, ValueError, OverflowError):
            _say({"page": index + 1, "error": "damaged"})
        except MemoryError:
            _say({"page": index + 1, "error": "memory"})
        else:
            _say({"page": index + 1, "texts": found.texts, "damaged": found.damaged})


def _symbols(document: Any, index: int) -> Symbols:
    page = document[index]
    try:
        found = Symbols(())
        for scale in scales_of(*page.get_size()):
            # Forms are not drawn: they would want their scripts and fields filled in.
            bitmap = page.render(scale=scale, grayscale=True, may_draw_forms=False)
            found |= find_symbols(bitmap.to_pil())
            bitmap.close()
            if found.complete:
                break
        return found
    finally:
        page.close()


def scales_of(width: float, height: float) -> list[float]:
    """Pixels a point for each try at a page of so many points, in growing order.

    >>> [round(scale * 72) for scale in scales_of(595, 842)]  # A4
    [300, 600]
    >>> [round(scale * 72) for scale in scales_of(2384, 3370)]  # A0
    [180]

    Raises: ValueError when no page has such a size.
    """
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"a page of {width} x {height} points")
    # A pixel less than may be, for sides are rounded up.
    most = min(
        math.sqrt(MAX_PAGE_PIXELS / width) / math.sqrt(height), (MAX_SIDE - 1) / max(width, height)
    )
    return sorted({min(dpi / _POINTS_PER_INCH, most) for dpi in _DPI})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
