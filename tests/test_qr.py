"""Text ⇄ picture: what is written, what is read back, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY, qr_version
from vaxpass_sign.qr import (
    MAX_PICTURE_BYTES,
    Symbols,
    check_qr_text,
    is_picture,
    qr_png,
    qr_svg,
    read_qr,
    read_qrs,
    write_qr,
)

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"


def text_of(length: int) -> str:
    """A text of that length that looks like an HCERT and is the same in every run."""
    body = random.Random(length).choices(ALPHANUMERIC, k=max(0, length - 4))
    return ("HC1:" + "".join(body))[:length]


TEXT = text_of(555)


def zxing_png(text: str) -> bytes:
    """A QR symbol of any text, as posters have it."""
    barcode = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode)
    out = BytesIO()
    Image.fromarray(zxingcpp.write_barcode_to_image(barcode, scale=6)).save(out, "PNG")
    return out.getvalue()


SYMBOL = Image.open(BytesIO(qr_png(TEXT))).convert("L")


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    picture.save(out, format=kind, **options)
    return out.getvalue()


# --- writing -----------------------------------------------------------------------------------


def test_png_is_fit_for_print():
    """A PNG has 1 bit a pixel, 6 pixels a module, a quiet zone of 4 modules, and says 300 dpi."""
    picture = Image.open(BytesIO(qr_png(TEXT)))
    modules = 17 + 4 * qr_version(len(TEXT))
    assert picture.mode == "1"
    assert picture.size == ((modules + 8) * 6,) * 2
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    dark = SYMBOL.point(lambda value: 255 - value).getbbox()
    assert dark == (24, 24, picture.width - 24, picture.height - 24)


def test_svg_is_the_same_symbol():
    """An SVG draws the modules of the PNG, in millimetres, with crisp edges."""
    svg = qr_svg(TEXT)
    side = SYMBOL.width // 6
    assert f'width="{side * 0.508:.3f}mm" height="{side * 0.508:.3f}mm"' in svg
    assert f'viewBox="0 0 {side} {side}" shape-rendering="crispEdges"' in svg
    drawn = Image.new("L", (side, side), "white")
    for x, y, run, back in re.findall(r"M(\d+) (\d+)h(\d+)v1H(\d+)z", svg):
        assert x == back
        drawn.paste(0, (int(x), int(y), int(x) + int(run), int(y) + 1))
    assert drawn.tobytes() == SYMBOL.resize((side, side), Image.Resampling.NEAREST).tobytes()


AROUND = sorted({n + more for n in QR_CAPACITY for more in (0, 1)} - {2421})


@pytest.mark.parametrize("length", AROUND)
def test_versions_are_the_smallest(length):
    """The symbol is of the version that the capacity table says, at level Q, and reads back."""
    text = text_of(length)
    png = qr_png(text, max_version=40)
    (symbol,) = zxingcpp.read_barcodes(Image.open(BytesIO(png)))
    assert int(symbol.extra["Version"]) == qr_version(length) == check_qr_text(text, 40)
    assert symbol.ec_level == "Q"
    assert symbol.symbology_identifier == "]Q1"
    assert read_qr(png) == text


@pytest.mark.parametrize(
    ("text", "limit", "message"),
    [
        pytest.param("", 25, "empty", id="empty"),
        pytest.param("HC1:a", 25, "character 5 .* alphanumeric", id="small-letter"),
        pytest.param("HC1:A\n", 25, "character 6", id="line-end"),
        pytest.param("HC1:Ế", 25, "character 5", id="vietnamese"),
        pytest.param("HC1:١", 25, "character 5", id="arabic-digit"),
        pytest.param(text_of(1042), 25, "version 26, expected at most 1041", id="version-26"),
        pytest.param(text_of(2421), 40, "more than version 40", id="version-41"),
        pytest.param(text_of(20), 1, "version 2, expected at most 16", id="limit-1"),
        pytest.param("HC1:A", 0, "set to 0", id="limit-0"),
        pytest.param("HC1:A", 41, "set to 41", id="limit-41"),
    ],
)
def test_text_that_is_refused(text, limit, message):
    """A text that no symbol within the limit holds is refused, and is not in the message."""
    for use in (lambda: check_qr_text(text, limit), lambda: qr_png(text, max_version=limit)):
        with pytest.raises(InputError, match=message) as caught:
            use()
        assert len(text) < 10 or text not in str(caught.value)


def test_files(tmp_path):
    """write_qr picks PNG or SVG by the suffix, any case, and makes a private file."""
    for name, start in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")):
        path = tmp_path / name
        write_qr(TEXT, path)
        assert path.read_bytes().startswith(start)
        assert path.stat().st_mode & 0o777 == 0o600
    assert read_qr(tmp_path / "a.png") == read_qr(str(tmp_path / "a.png")) == TEXT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.SVG", "a.png"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.jpg", TEXT, "ends in .jpg, expected .png or .svg", id="jpeg"),
        pytest.param("a", TEXT, "no suffix", id="no-suffix"),
        pytest.param("missing/a.png", TEXT, "is no folder", id="no-folder"),
        pytest.param("a.png", "hc1:", "alphanumeric", id="bad-text"),
    ],
)
def test_files_that_are_refused(tmp_path, name, text, message):
    """What can't be written is refused and leaves nothing behind."""
    with pytest.raises(InputError, match=message):
        write_qr(text, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# --- reading -----------------------------------------------------------------------------------


def pasted(on: Image.Image, *symbols: Image.Image) -> Image.Image:
    for index, symbol in enumerate(symbols):
        on.paste(symbol, (40 + index * (symbol.width + 60), 200))
    return on


def transparent(ink: int) -> Image.Image:
    picture = Image.new("RGBA", SYMBOL.size, (ink, 0, 0, 0))
    picture.paste((ink, ink, ink, 255), mask=SYMBOL.point(lambda value: 255 - value))
    return picture


def scaled(factor: float) -> Image.Image:
    side = round(SYMBOL.width * factor)
    return SYMBOL.resize((side, side), Image.Resampling.LANCZOS)


DARK = SYMBOL.point(lambda value: 235 - value // 255 * 205)
SIXTEEN_BITS = SYMBOL.convert("I").point(lambda value: value * 257).convert("I;16")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(SYMBOL.rotate(90)), id="on-its-side"),
        pytest.param(encoded(SYMBOL.rotate(180)), id="upside-down"),
        pytest.param(encoded(SYMBOL.rotate(33, expand=True, fillcolor=255)), id="rotated-33"),
        pytest.param(encoded(SYMBOL.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), id="mirrored"),
        pytest.param(encoded(scaled(0.6)), id="scaled-to-60-percent"),
        pytest.param(encoded(scaled(0.25)), id="1.5-pixels-a-module"),
        pytest.param(encoded(scaled(3.7)), id="enlarged"),
        pytest.param(encoded(SYMBOL, "JPEG", quality=40), id="jpeg-quality-40"),
        pytest.param(encoded(SYMBOL.convert("CMYK"), "JPEG"), id="jpeg-cmyk"),
        pytest.param(encoded(DARK), id="dark-mode"),
        pytest.param(
            encoded(pasted(Image.new("RGB", (1080, 2200), "#204060"), SYMBOL)), id="screenshot"
        ),
        pytest.param(encoded(SYMBOL.convert("RGBA")), id="png-rgba"),
        pytest.param(encoded(SYMBOL.convert("P")), id="png-palette"),
        pytest.param(encoded(SIXTEEN_BITS), id="png-16-bits"),
        pytest.param(encoded(transparent(0)), id="black-on-transparent"),
        pytest.param(encoded(transparent(255)), id="white-on-transparent"),
        pytest.param(encoded(SYMBOL, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09"), id="bad-exif"),
    ],
)
def test_pictures_that_are_read(data):
    """A symbol is read turned, scaled, compressed, light on dark, transparent, in any PNG mode."""
    assert is_picture(data)
    assert read_qr(data) == TEXT


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to have these many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WIDE = Image.new("L", (1400, 1000), "white")
OTHER = Image.open(BytesIO(qr_png(text_of(400)))).convert("L")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "neither PNG nor JPEG", id="empty"),
        pytest.param(TEXT.encode(), "neither PNG nor JPEG", id="text"),
        pytest.param(encoded(SYMBOL, "GIF"), "neither PNG nor JPEG", id="gif"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "damaged", id="png-magic-only"),
        pytest.param(b"\xff\xd8\xff", "damaged", id="jpeg-magic-only"),
        pytest.param(encoded(SYMBOL)[:-400], "damaged", id="png-cut"),
        pytest.param(encoded(SYMBOL, "JPEG")[:9000], "damaged", id="jpeg-cut"),
        pytest.param(encoded(WIDE), "no QR code was found", id="blank"),
        pytest.param(encoded(Image.new("1", (1, 1))), "no QR code was found", id="one-pixel"),
        pytest.param(encoded(Image.new("1", (60_000, 1))), "no QR code was found", id="a-line"),
        pytest.param(encoded(pasted(WIDE.copy(), SYMBOL, OTHER)), "^2 QR codes", id="two"),
        pytest.param(claims(60_000, 60_000), "60000 x 60000 pixels", id="bomb"),
        pytest.param(claims(70_000, 1), "65535 a side", id="very-wide"),
        pytest.param(claims(7_000, 7_000), "damaged", id="promises-too-much"),
        pytest.param(claims(0, 0), "damaged", id="no-pixels"),
        pytest.param(b"\xff\xd8\xff" + bytes(MAX_PICTURE_BYTES), "larger than 32 MiB", id="huge"),
    ],
)
def test_pictures_that_are_refused(data, message):
    """A picture that doesn't hold exactly one readable symbol is refused, with its reason."""
    with pytest.raises(InputError, match=message) as caught:
        read_qr(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.png", ".", "bad\0name"])
def test_files_that_cannot_be_read(tmp_path, name):
    """A picture that can't be opened is an InputError that names it."""
    with pytest.raises(InputError, match="can't be read"):
        read_qr(f"{tmp_path}/{name}")


LINK = "https://example.org/apply"
POSTER = Image.open(BytesIO(zxing_png(LINK))).convert("L")
OTHER_TEXT = text_of(400)
# A third of its modules hidden: more than level Q mends, and the detector still sees it.
SMUDGED = SYMBOL.copy()
SMUDGED.paste(255, (150, 150, SYMBOL.width - 150, SYMBOL.height - 150))


@pytest.mark.parametrize(
    ("symbols", "texts", "damaged"),
    [
        pytest.param([SYMBOL], [TEXT], 0, id="one"),
        pytest.param([SYMBOL, OTHER], [TEXT, OTHER_TEXT], 0, id="two-people"),
        pytest.param([SYMBOL, SYMBOL], [TEXT], 0, id="one-twice"),
        pytest.param([POSTER, SYMBOL], [TEXT], 0, id="poster"),
        pytest.param([POSTER], [LINK], 0, id="only-a-link"),
        pytest.param([SYMBOL, SMUDGED], [TEXT], 1, id="one-smudged"),
        pytest.param([POSTER, SMUDGED], [LINK], 1, id="link-and-smudged"),
    ],
)
def test_all_symbols_of_a_picture(symbols, texts, damaged):
    """All HCERTs are given, each once, other codes only when there is no HCERT; bad ones counted."""
    found = read_qrs(encoded(pasted(Image.new("L", (1500, 1000), "white"), *symbols)))
    assert (sorted(found.texts), found.damaged) == (sorted(texts), damaged)


def test_from_top_to_bottom():
    """The order is that of the places, whichever the reader found first."""
    page = Image.new("L", (1000, 1900), "white")
    for top, symbol in ((1200, SYMBOL), (100, OTHER)):
        page.paste(symbol, (100, top))
    assert read_qrs(encoded(page)).texts == (OTHER_TEXT, TEXT)


def test_the_one_hcert_beside_others():
    """read_qr takes the HCERT of a poster, and the one that is there twice."""
    poster = pasted(Image.new("L", (1500, 1000), "white"), POSTER, SYMBOL)
    assert read_qr(encoded(poster)) == TEXT
    assert read_qr(encoded(pasted(WIDE.copy(), SYMBOL, SYMBOL))) == TEXT


def test_a_symbol_that_is_seen_and_not_read():
    """The error says that there is one, and repeats nothing of it."""
    with pytest.raises(InputError, match=r"^a QR code was found on the picture and can't be read"):
        read_qr(encoded(pasted(WIDE.copy(), SMUDGED)))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ((["A"], 1), (["A", "B"], 0), (["A", "B"], 0)),
        ((["A"], 1), (["B"], 1), (["A", "B"], 0)),
        ((["A"], 1), (["A"], 0), (["A"], 1)),
        (([], 2), (["A"], 0), (["A"], 1)),
        ((["A", "A"], 0), (["A"], 0), (["A", "A"], 0)),
    ],
)
def test_two_tries_at_a_picture(one, other, both):
    """What one try read is not damaged; what one saw and none read is."""
    found = [Symbols(tuple(texts), damaged) for texts, damaged in (one, other)]
    assert found[0] | found[1] == Symbols(tuple(both[0]), both[1])


CHANGES = st.lists(
    st.tuples(st.integers(0, 6_000), st.integers(0, 255), st.sampled_from("sssdic")),
    min_size=1,
    max_size=6,
)


def with_right_checksums(png: bytes) -> bytes:
    """The PNG with each chunk's CRC mended, so that a change reaches the decoder behind it."""
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        body = png[at + 4 : at + 8 + int.from_bytes(png[at : at + 4], "big")]
        out += png[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += len(body) + 8
    return bytes(out)


SMALL = SYMBOL.resize((194, 194))


@given(
    st.sampled_from(
        [
            encoded(SMALL.convert("1")),
            encoded(SMALL.convert("P"), transparency=b"\0\x80"),
            encoded(SMALL.convert("RGBA")),
            encoded(SMALL, "JPEG"),
            encoded(SMALL.convert("CMYK"), "JPEG", progressive=True),
        ]
    ),
    CHANGES,
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_damaged_pictures(data, changes, mend):
    """A damaged picture gives its text or InputError, never another error or a warning."""
    damaged = bytearray(data)
    for place, byte, kind in changes:
        at = place % (len(damaged) or 1)
        if kind == "c":
            del damaged[at + 8 :]
        else:
            damaged[at : at + (kind != "i")] = b"" if kind == "d" else bytes([byte])
    picture = bytes(damaged)
    if mend and picture.startswith(b"\x89PNG"):
        picture = with_right_checksums(picture)
    try:
        found = read_qr(picture)
    except InputError:
        return
    assert found == TEXT


# --- published pictures --------------------------------------------------------------------------

# Vectors whose picture shows another credential than their PREFIX says.
OTHER_CREDENTIAL = {f"ES/2DCode/raw/{number}.json" for number in (501, 502, 503)}
# A negative vector (EXPECTEDPICTUREDECODE false) whose bytes are no picture.
NO_PICTURE = {"common/2DCode/raw/Q1.json"}


@pytest.fixture(scope="module")
def published() -> list[dict]:
    """The EU's published vectors that have a picture."""
    path = Path(__file__).resolve().parents[2] / "shared/vectors/dcc_vectors_dev.jsonl.gz"
    if not path.exists():
        reason = f"the published vectors {path.name} are not beside the repository"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        vectors = [json.loads(line) for line in lines]
    return [vector for vector in vectors if "2DCODE" in vector]


def check_published(vectors: list[dict]) -> None:
    for vector in vectors:
        name, data = vector["id"], base64.b64decode(vector["2DCODE"])
        if name in NO_PICTURE:
            with pytest.raises(InputError):
                read_qr(data)
            continue
        text = read_qr(data)
        assert (text == vector["PREFIX"]) == (name not in OTHER_CREDENTIAL), name
        picture = Image.open(BytesIO(data)).convert("L")
        size = (picture.width * 3 // 5, picture.height * 3 // 5)
        changes = {
            "60 %": encoded(picture.resize(size, Image.Resampling.LANCZOS)),
            "JPEG 40": encoded(picture, "JPEG", quality=40),
            "inverted": encoded(picture.point(lambda value: 255 - value)),
            "rotated": encoded(picture.rotate(17, expand=True, fillcolor=255)),
        }
        for change, changed in changes.items():
            assert read_qr(changed) == text, f"{name} {change}"


def test_a_sample_of_published_pictures(published):
    """40 published pictures are read, also at 60 %, as JPEG of quality 40, inverted, rotated."""
    check_published(random.Random(2).sample(published, 40))


@pytest.mark.long
def test_all_published_pictures(published):
    """All published pictures are read but Q1, which is none; also changed in four ways."""
    assert len(published) == 261
    check_published(published)


# --- the extra -----------------------------------------------------------------------------------


def test_import_is_light_and_a_missing_extra_is_named():
    """Importing qr brings in neither zxing-cpp nor Pillow; without them text is checked all the
    same, and the error names the install command."""
    code = (
        "import sys\n"
        "from vaxpass_sign.errors import MissingExtraError\n"
        "from vaxpass_sign.qr import check_qr_text, is_picture, qr_svg, read_qr\n"
        "assert not {'zxingcpp', 'PIL', 'numpy'} & set(sys.modules)\n"
        "sys.modules['zxingcpp'] = None\n"
        "assert check_qr_text('HC1:') == 1 and is_picture(b'\\xff\\xd8\\xff')\n"
        "for use in (lambda: qr_svg('HC1:'), lambda: read_qr(b'\\xff\\xd8\\xff')):\n"
        "    try:\n"
        "        use()\n"
        "    except MissingExtraError as error:\n"
        "        assert 'vaxpass-sign[qr]' in str(error)\n"
        "    else:\n"
        "        raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
