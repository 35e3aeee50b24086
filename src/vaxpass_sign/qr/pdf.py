"""PDF → texts of the QR symbols on its pages, read in a child with limits.

Whatever the bytes are, texts come out or InputError is raised, in bounded time and memory: a file
that crashes the child, hangs it or fills it ends the child alone. No message repeats what a symbol
says.

>>> read_pdf(b"GIF89a")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.InputError: the file is no PDF, expected it to begin with %PDF-
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from vaxpass_sign.errors import InputError, MissingExtraError
from vaxpass_sign.qr.extra import require_qr_extra
from vaxpass_sign.qr.pages import MAX_PAGES
from vaxpass_sign.qr.symbols import Symbols, hcerts_first

__all__ = ["MAX_PDF_BYTES", "PDF_MAGIC", "PdfPage", "is_pdf", "read_pdf"]

PDF_MAGIC: Final = b"%PDF-"

MAX_PDF_BYTES: Final = 64 * 1024 * 1024
"""A hundred scanned pages at 300 dpi."""

MEMORY_BYTES: Final = 1024**3
"""Address space of the child. An empty A4 page at 600 dpi takes 150 MB of it, Python included; the
rest is for a page's own pictures."""

CPU_SECONDS: Final = 60
WALL_SECONDS: Final = 180
"""A page without a QR code takes a fifth of a second, so a hundred take a third of CPU_SECONDS."""

# The child looks for modules where we do, and not in the current folder, where a file may have a
# module's name; it has none of our environment, where a PIN may be.
_CHILD: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from vaxpass_sign.qr.pages import main; main()"
)
_KEPT_VARIABLES: Final = ("LD_LIBRARY_PATH",)

_INSTEAD = "print it to a PDF anew, or take a picture of the code"


@dataclass(frozen=True, slots=True)
class PdfPage:
    """A page on which a QR symbol was found, or that could not be read.

    ``number`` counts from 1; ``error`` says why not all of it was read, else it is None.
    """

    number: int
    texts: tuple[str, ...]
    error: InputError | None = None


def is_pdf(data: bytes) -> bool:
    """Whether ``data`` begins as a PDF does; the rest is not looked at."""
    return data.startswith(PDF_MAGIC)


def read_pdf(data: bytes) -> list[PdfPage]:
    """The texts of the HCERTs on a PDF's pages; of all QR symbols when none is one.

    Pages without a QR symbol are left out, pages that can't be read are not. The last page of the
    list stands for the ones behind it, too, when the child came no further.

    Raises: InputError when it is no PDF, is encrypted, is larger than MAX_PDF_BYTES, has more than
    MAX_PAGES pages, can't be read at all, or has no QR symbol; MissingExtraError without extra
    ``qr``.
    """
    if not is_pdf(data):
        raise InputError("the file is no PDF, expected it to begin with %PDF-")
    if len(data) > MAX_PDF_BYTES:
        raise InputError(
            f"the PDF is larger than {MAX_PDF_BYTES // 2**20} MiB; "
            "save the page with the code alone"
        )
    require_qr_extra()
    if find_spec("pypdfium2") is None:  # it is imported in the child alone
        raise MissingExtraError("QR codes in PDFs", "qr")
    lines, end = _run_child(data)
    try:
        return _pages([json.loads(line) for line in lines], end)
    except (ValueError, LookupError, TypeError) as error:
        # Our child says nothing else; what has taken it over may.
        raise _error("the PDF", "crash") from error


def _run_child(data: bytes) -> tuple[list[bytes], str | None]:
    """The whole lines that the child wrote, and what ended it before it was done, or None."""
    command = [sys.executable, "-I", "-B", "-c", _CHILD, str(MEMORY_BYTES), str(CPU_SECONDS)]
    command.append(json.dumps([path for path in sys.path if isinstance(path, str)]))
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter and module)
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as stopped:
        return (stopped.stdout or b"").split(b"\n")[:-1], "time"
    except OSError as error:
        raise InputError(
            f"the PDF can't be read: no process could be started for it: {error.strerror}; "
            "try again, or take a picture of the code"
        ) from error
    ends = {0: None, -signal.SIGXCPU: "time"}
    return done.stdout.split(b"\n")[:-1], ends.get(done.returncode, "crash")


def _pages(said: list[dict[str, Any]], end: str | None) -> list[PdfPage]:
    if not said:
        raise _error("the PDF", end or "crash")
    first, *pages = said
    if "error" in first:
        raise _error("the PDF", first["error"], first.get("pages", 0))
    found = [_page(page) for page in pages]
    if end is not None:
        rest = len(pages) + 1, first["pages"]
        which = f"page {rest[0]}" if rest[0] == rest[1] else f"pages {rest[0]} to {rest[1]}"
        found.append(PdfPage(rest[0], (), _error(f"{which} of the PDF", end)))
    wanted = set(hcerts_first(text for page in found for text in page.texts))
    found = [
        PdfPage(page.number, tuple(text for text in page.texts if text in wanted), page.error)
        for page in found
    ]
    found = [page for page in found if page.texts or page.error]
    if not found:
        raise InputError(
            f"no QR code was found on any page of the PDF (it has {first['pages']}), expected one; "
            "take a picture of the code, or scan the page again, sharp and in 300 dpi"
        )
    return found


def _page(said: dict[str, Any]) -> PdfPage:
    number = said["page"]
    if "error" in said:
        return PdfPage(number, (), _error("the page", said["error"]))
    found = Symbols(hcerts_first(said["texts"]), said["damaged"])
    return PdfPage(number, found.texts, found.error("the page") if found.damaged else None)


def _error(what: str, word: str, pages: int = 0) -> InputError:
    """The error for a word of the child's, or of :func:`_run_child`."""
    memory = f"{MEMORY_BYTES // 2**20} MiB"
    messages = {
        "password": "is encrypted, expected one that opens without a password; save it without "
        "one, or take a picture of the code",
        "pages": f"has {pages} pages, expected 1 to {MAX_PAGES}; split it, or save the pages with "
        "codes alone",
        "damaged": f"is damaged, expected a whole PDF; copy it again, {_INSTEAD}",
        "memory": f"can't be drawn in {memory} of memory; {_INSTEAD}",
        "time": f"can't be drawn in the {CPU_SECONDS} seconds that a PDF has; {_INSTEAD}",
        "crash": f"can't be drawn: damaged, or too large for {memory} of memory; {_INSTEAD}",
    }
    return InputError(f"{what} {messages[word]}")
