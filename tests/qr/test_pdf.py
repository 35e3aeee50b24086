"""PDFs: what is read from their pages, and that none of them takes the reader with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pdfs import A4, MM, assemble, drawn, pages, stream
from vaxpass_sign.errors import InputError
from vaxpass_sign.qr import MAX_PAGES, MAX_PDF_BYTES, PdfPage, is_pdf, pdf, qr_png, read_pdf

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
TEXTS = ["HC1:" + ALPHANUMERIC * 12 + name for name in "ABC"]
TEXT = TEXTS[0]
LONGEST = "HC1:" + (ALPHANUMERIC * 24)[:1037]
"""It fills version 25 at level Q."""
LINK = "HTTPS://EXAMPLE.ORG/APPLY"


def scan(text: str, degrees: float, kind: str = "JPEG", millimetres: float = 50) -> bytes:
    """An A4 page scanned at 300 dpi as pillow writes it, with a symbol at an angle."""
    symbol = Image.open(BytesIO(qr_png(text))).convert("L")
    side = round(millimetres / 25.4 * 300)
    symbol = symbol.resize((side, side), Image.Resampling.LANCZOS)
    page = Image.new("L", (2480, 3508), 250)
    page.paste(symbol.rotate(degrees, expand=True, fillcolor=255), (400, 500))
    out = BytesIO()
    # Pillow's own choice of filters: JPEG for grey, CCITT fax for black and white.
    page.convert("1" if kind == "fax" else "L").save(out, "PDF", resolution=300)
    return out.getvalue()


def texts_of(data: bytes) -> list[tuple[int, tuple[str, ...]]]:
    found = read_pdf(data)
    assert all(page.error is None for page in found)
    return [(page.number, page.texts) for page in found]


# --- what is read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(pages([drawn(TEXT, 50)]), TEXT, id="squares"),
        pytest.param(pages([drawn(LONGEST, 40)]), LONGEST, id="version-25-of-4-cm"),
        pytest.param(pages([drawn(LONGEST, 12)]), LONGEST, id="version-25-of-12-mm"),
        pytest.param(scan(TEXT, 0), TEXT, id="scan"),
        pytest.param(scan(TEXT, 3), TEXT, id="scan-by-3-degrees"),
        pytest.param(scan(TEXT, 90), TEXT, id="scan-by-90-degrees"),
        pytest.param(scan(LONGEST, 3, millimetres=40), LONGEST, id="scan-of-version-25"),
        pytest.param(scan(TEXT, 3, "fax"), TEXT, id="scan-as-a-fax"),
        pytest.param(pages([drawn(TEXT, 50)], trailer=b"/X 1") + b"\0" * 50, TEXT, id="tail"),
        pytest.param(pages([drawn(TEXT, 300, top=-1000)], (2384, 3370)), TEXT, id="A0"),
        # 1 GB as pixels at 300 dpi: drawn smaller.
        pytest.param(pages([drawn(TEXT, 2000, top=-5000)], (7600, 7600)), TEXT, id="huge-page"),
    ],
)
def test_pages_that_are_read(data: bytes, text: str) -> None:
    """Symbols drawn or scanned, turned, small and dense, on pages of any size."""
    assert is_pdf(data)
    assert texts_of(data) == [(1, (text,))]


def test_a_page_that_is_turned_by_its_own_entry() -> None:
    """/Rotate is the page's."""
    data = pages([drawn(TEXT, 50)]).replace(b"/Parent", b"/Rotate 270 /Parent")
    assert texts_of(data) == [(1, (TEXT,))]


def test_pages_without_a_code_are_passed_over() -> None:
    """Only pages with codes are given, by their numbers; equal texts on two pages are two finds."""
    data = pages(
        [b"", drawn(TEXT, 50), b"0 0 99 99 re f", drawn(TEXTS[1], 50) + drawn(TEXT, 50, 300)]
    )
    assert [(page.number, sorted(page.texts)) for page in read_pdf(data)] == [
        (2, [TEXT]),
        (4, [TEXT, TEXTS[1]]),
    ]


def test_a_sheet_of_several_people() -> None:
    """All codes of a page are given, from top to bottom, whichever was drawn first."""
    sheet = b"".join(drawn(TEXTS[n], 50, 60 + 200 * (n % 2), 60 + 200 * n) for n in (2, 0, 1))
    assert texts_of(pages([sheet])) == [(1, tuple(TEXTS))]


def test_a_dense_code_beside_one_that_is_read() -> None:
    """At 300 dpi the second is seen and not read; the page is tried again for it."""
    [(_, texts)] = texts_of(pages([drawn(TEXT, 50) + drawn(LONGEST, 12.5, 300)]))
    assert set(texts) == {TEXT, LONGEST}


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param([drawn(LINK, 40, 300) + drawn(TEXT, 50)], id="on-one-page"),
        # At 300 dpi only the link is read.
        pytest.param([drawn(LINK, 40, 300) + drawn(LONGEST, 12)], id="beside-a-dense-one"),
        pytest.param([drawn(TEXT, 50), drawn(LINK, 40)], id="on-the-next-page"),
    ],
)
def test_other_codes_are_passed_over(contents: list[bytes]) -> None:
    """A link beside a credential is not given."""
    [(_, [text])] = texts_of(pages(contents))
    assert text in (TEXT, LONGEST)


def test_other_codes_alone_are_given() -> None:
    """Where no credential is, the Verdict is to say what the code is not."""
    assert texts_of(pages([b"", drawn(LINK, 40)])) == [(2, (LINK,))]


def test_a_smudged_code_beside_a_good_one() -> None:
    """It is not passed over: the page has its text, and an error."""
    smudge = f"1 g {300 + 15 * MM} {A4[1] - 60 - 35 * MM} {20 * MM} {20 * MM} re f\n".encode()
    [page] = read_pdf(pages([drawn(TEXT, 50) + drawn(TEXTS[1], 50, 300) + smudge]))
    assert page.texts == (TEXT,)
    assert "a QR code was found on the page and can't be read" in str(page.error)


# --- what is refused -----------------------------------------------------------------------

LOCKED_TRAILER = (
    b"/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>] "
    b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"5a" * 32, b"a5" * 32)
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "no PDF", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "no PDF", id="picture"),
        pytest.param(b"%PDF-", "is damaged", id="magic-only"),
        pytest.param(scan(TEXT, 0)[:5000], "is damaged", id="truncated"),
        pytest.param(pages([b""]), "no QR code was found on any page", id="blank"),
        pytest.param(pages([b""] * 3), r"\(it has 3\)", id="three-blank"),
        pytest.param(pages([drawn(TEXT, 50)], trailer=LOCKED_TRAILER), "is encrypted", id="locked"),
        pytest.param(pages([drawn(TEXT, 50)] * (MAX_PAGES + 1)), "has 101 pages", id="101-pages"),
        pytest.param(pages([b""] * 5000), "has 5000 pages", id="5000-pages"),
        pytest.param(b"%PDF-" + bytes(MAX_PDF_BYTES), "larger than 64 MiB", id="too-large"),
        pytest.param(b"%PDF-" + bytes(MAX_PDF_BYTES - 5), "is damaged", id="as-large-as-may-be"),
    ],
)
def test_pdfs_that_are_refused(data: bytes, message: str) -> None:
    """One line that says what to do, and nothing of what is in it."""
    with pytest.raises(InputError, match=message) as caught:
        read_pdf(data)
    assert "\n" not in str(caught.value)
    assert TEXT not in str(caught.value)


# --- hostile ones --------------------------------------------------------------------------

FORM = (
    b"/Type /XObject /Subtype /Form /BBox [0 0 600 900] /Resources << /XObject << /F %d 0 R >> >>"
)
LAUGHS = [stream(b"/F Do " * 10, FORM % (4 + n)) for n in range(14)]
"""Each form draws the next one ten times."""

TILES = stream(
    b"0 0 .01 .01 re f",
    b"/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 .01 .01] /XStep .001 "
    b"/YStep .001 /Resources << >>",
)
TILED = b"/Pattern cs /P scn 0 0 600 900 re f"


def zeros(count: int) -> bytes:
    """So many bytes of 0 (a multiple of 1 MiB), packed, without having them here; no checksum."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + block * (count // 2**20) + b"\x03\0"


def packed(data: bytes, entries: bytes) -> bytes:
    head = b"<< /Length %d /Filter /FlateDecode %s >>" % (len(data), entries)
    return head + b"\nstream\n" + data + b"\nendstream"


LARGE = packed(
    zeros(3 * 2**30),
    b"/Type /XObject /Subtype /Image /Width 32768 /Height 32768 /BitsPerComponent 8 /ColorSpace "
    b"/DeviceRGB",
)
DEEP_TREE = assemble(
    [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        *(b"<< /Type /Pages /Count 1 /Kids [%d 0 R] >>" % (n + 3) for n in range(3000)),
        b"<< /Type /Page /MediaBox [0 0 100 100] >>",
    ]
)
ITSELF = assemble(
    [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 2 /Kids [2 0 R 2 0 R] >>"]
)
MANY_KIDS = assemble(
    [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 2000000000 /Kids [2 0 R] >>"]
)

HOSTILE = [
    pytest.param(pages([b""], (1e9, 1e9)), "no QR code", id="page-of-a-billion-points"),
    pytest.param(pages([b""], (1e9, 1)), "no QR code", id="page-like-a-line"),
    pytest.param(pages([b""], (0, 0)), "no QR code", id="page-of-no-size"),
    pytest.param(pages([b""], (float("nan"), float("inf"))), "no QR code", id="page-of-no-number"),
    pytest.param(DEEP_TREE, "is damaged", id="deep-tree-of-pages"),
    pytest.param(ITSELF, "is damaged", id="tree-that-holds-itself"),
    pytest.param(MANY_KIDS, "is damaged", id="two-billion-pages"),
    pytest.param(pages([b""], more=[b"[" * 9**6 + b"]" * 9**6]), "no QR code", id="deep-array"),
    pytest.param(
        pages([b""], resources=b"/X" + b"<</A" * 10**5 + b" 1" + b">>" * 10**5),
        "no QR code",
        id="deep-dictionary",
    ),
    pytest.param(
        pages([b"/F Do"], resources=b"/XObject << /F 3 0 R >>", more=[*LAUGHS, stream(b"")]),
        "can't be drawn",
        id="forms-in-forms",
    ),
    pytest.param(
        pages([TILED], resources=b"/Pattern << /P 3 0 R >>", more=[TILES]),
        "can't be drawn in the 2 seconds",
        id="pattern-of-dust",
    ),
    pytest.param(pages([b"q " * 10**8]), "can't be drawn", id="states-without-end"),
    pytest.param(
        pages([b"600 0 0 900 0 0 cm /I Do"], resources=b"/XObject << /I 3 0 R >>", more=[LARGE]),
        "no QR code|can't be drawn",
        id="picture-of-3-GiB",
    ),
]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds for each PDF instead of a minute."""
    monkeypatch.setattr(pdf, "CPU_SECONDS", 2)
    monkeypatch.setattr(pdf, "WALL_SECONDS", 20)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("data", "message"), HOSTILE)
def test_hostile_pdfs(data: bytes, message: str) -> None:
    """What crashes, hangs or fills the child ends as one line here, soon, and this process is well."""
    began = time.monotonic()
    try:
        errors = [page.error for page in read_pdf(data)]
    except InputError as error:
        errors = [error]
    assert time.monotonic() - began < 15
    assert errors
    for error in errors:
        assert re.search(message, str(error))
        assert "\n" not in str(error)


@pytest.mark.usefixtures("short")
def test_what_was_read_before_is_not_lost() -> None:
    """A page that ends the child leaves the pages before it, and an error for those behind."""
    contents = [drawn(TEXT, 50), TILED, drawn(TEXTS[1], 50)]
    found = read_pdf(pages(contents, resources=b"/Pattern << /P 3 0 R >>", more=[TILES]))
    assert found[0] == PdfPage(1, (TEXT,))
    assert [(page.number, page.texts) for page in found[1:]] == [(2, ())]
    assert "pages 2 to 3 of the PDF can't be drawn in the 2 seconds" in str(found[1].error)


def test_a_child_that_sleeps_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock on the wall counts too: a child that takes no processor time is killed."""
    monkeypatch.setattr(pdf, "WALL_SECONDS", 1)
    monkeypatch.setattr(pdf, "_CHILD", "import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(InputError, match="can't be drawn in"):
        read_pdf(pages([b""]))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "says", ["nonsense", "[]", "{}", '{"pages": 1}\\n{"page": 1}', '{"error": "no such word"}']
)
def test_a_child_that_says_something_else(monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """What a child that was taken over writes is no traceback here."""
    monkeypatch.setattr(pdf, "_CHILD", f"print('{says}')")
    with pytest.raises(InputError, match="can't be drawn"):
        read_pdf(pages([b""]))


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is read with 1 GiB is an error with what the child needs to start and no more."""
    data = pages([drawn(TEXT, 50)], (5000, 5000))
    assert read_pdf(data)[0].error is None
    monkeypatch.setattr(pdf, "MEMORY_BYTES", 120 * 2**20)
    try:
        error = read_pdf(data)[0].error
    except InputError as failed:
        error = failed
    assert "120 MiB" in str(error)


def test_the_child_is_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no variable of ours, and takes no module from the folder where the PDFs are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAXPASS_PIN", "7431")
    for name in ("pypdfium2", "json", "vaxpass_sign"):
        Path(f"{name}.py").write_text("raise SystemExit(0)\n")
    assert texts_of(pages([drawn(TEXT, 50)])) == [(1, (TEXT,))]
    monkeypatch.setattr(
        pdf,
        "_CHILD",
        "import json, os, sys\n"
        "print(json.dumps({'pages': 1}))\n"
        "print(json.dumps({'page': 1, 'texts': sorted(os.environ), 'damaged': 0}))",
    )
    [page] = read_pdf(pages([b""]))
    assert not set(page.texts) - {"LC_CTYPE", "LD_LIBRARY_PATH"}


def test_the_limits_are_the_childs() -> None:
    """No core file with personal data, no file at all; a lower limit of ours is not an error."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "from vaxpass_sign.qr.pages import limit_self\n"
        "limit_self(2**30, 60)\n"
        "names = 'AS', 'CPU', 'CORE', 'FSIZE', 'NOFILE'\n"
        "print([resource.getrlimit(getattr(resource, f'RLIMIT_{n}')) for n in names])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([(2**30, 2**30), (60, 61), (0, 0), (0, 0), (32, 32)])


def test_pdfium_is_not_loaded_here() -> None:
    """Whoever reads a PDF has nothing of PDFium in its own process."""
    code = (
        "import sys\n"
        "from vaxpass_sign.qr import read_pdf\n"
        "data = sys.stdin.buffer.read()\n"
        "assert len(read_pdf(data)) == 1\n"
        "assert not [name for name in sys.modules if 'pdfium' in name]\n"
        "sys.modules['pypdfium2'] = None\n"
        "from vaxpass_sign.errors import MissingExtraError\n"
        "try:\n"
        "    read_pdf(data)\n"
        "except MissingExtraError as error:\n"
        "    assert 'vaxpass-sign[qr]' in str(error)\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    data = pages([drawn(TEXT, 50)])
    subprocess.run([sys.executable, "-c", code], input=data, check=True, env=os.environ)


# --- damaged ones --------------------------------------------------------------------------

CHANGES = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 255), st.sampled_from("sssdic")),
    min_size=1,
    max_size=8,
)


@given(st.sampled_from([pages([drawn(LINK, 50)]), scan(LINK, 3)]), CHANGES)
@settings(max_examples=25, deadline=None)
def test_damaged_pdfs(data: bytes, changes: list[tuple[int, int, str]]) -> None:
    """A damaged PDF gives texts or InputError; never another error."""
    damaged = bytearray(data)
    for place, byte, kind in changes:
        at = place % (len(damaged) or 1)
        if kind == "c":
            del damaged[at + 20 :]
        else:
            damaged[at : at + (kind != "i")] = b"" if kind == "d" else bytes([byte])
    try:
        found = read_pdf(bytes(damaged))
    except InputError:
        return
    assert {text for page in found for text in page.texts} <= {LINK}


@given(st.binary(max_size=400))
@settings(max_examples=15, deadline=None)
def test_random_bytes(tail: bytes) -> None:
    """What only begins as a PDF does is refused."""
    with pytest.raises(InputError):
        read_pdf(b"%PDF-1.7\n" + tail)


def test_the_library_is_the_one_that_was_tried() -> None:
    """pypdfium2 5 is what pyproject.toml asks for; its API changed with 5."""
    assert int(pypdfium2.PYPDFIUM_INFO.major) >= 5
