"""PDFs made by hand, so that tests say what is in them: good ones, odd ones, hostile ones."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence

from vaxpass_sign.qr import qr_svg

A4 = (595, 842)
MM = 72 / 25.4
"""Points in a millimetre."""


def assemble(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalogue."""
    out, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n" % size
        + table
        + b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, trailer, len(out))
    )


def stream(content: bytes, entries: bytes = b"") -> bytes:
    packed = zlib.compress(content)
    head = b"<< /Length %d /Filter /FlateDecode %s >>" % (len(packed), entries)
    return head + b"\nstream\n" + packed + b"\nendstream"


def pages(
    contents: Iterable[bytes],
    size: tuple[float, float] = A4,
    resources: bytes = b"",
    more: Sequence[bytes] = (),
    trailer: bytes = b"",
) -> bytes:
    """A PDF with a page for each content stream; ``more`` are the objects 3, 4, …"""
    kids, objects = [], []
    box = b"[0 0 %s]" % b" ".join(b"%f" % side for side in size)
    for number, content in enumerate(contents):
        first = 3 + len(more) + 2 * number
        kids.append(b"%d 0 R" % first)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Contents %d 0 R /Resources << %s >> >>"
            % (box, first + 1, resources),
            stream(content),
        ]
    tree = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    return assemble([b"<< /Type /Catalog /Pages 2 0 R >>", tree, *more, *objects], trailer)


def drawn(text: str, millimetres: float, left: float = 60, top: float = 60) -> bytes:
    """A QR symbol as squares, so wide with its margin, so many points from A4's left and top."""
    svg = qr_svg(text, max_version=40)
    modules = int(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    module = millimetres * MM / modules
    squares = " ".join(
        f"{x} {y} {run} 1 re" for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1H", svg)
    )
    return f"q {module} 0 0 {-module} {left} {A4[1] - top} cm {squares} f Q\n".encode()
