"""What ``verify`` and ``inspect`` take: PDFs, pictures with several codes, folders, and real pipes."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from pdfs import drawn, pages
from running import PERSONAL, PROGRAM, Desk
from vaxpass_sign.cli import folder
from vaxpass_sign.cli.inputs import Payload, Unread, read_inputs
from vaxpass_sign.qr import qr_png, write_qr

LINK = "https://example.org/apply"


def png(*symbols: Image.Image) -> bytes:
    """A picture with these symbols, one below the other."""
    page = Image.new("L", (900, sum(symbol.height for symbol in symbols)), 255)
    top = 0
    for symbol in symbols:
        page.paste(symbol, (0, top))
        top += symbol.height
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def symbol(text: str) -> Image.Image:
    return Image.open(io.BytesIO(qr_png(text))).convert("L")


def poster() -> Image.Image:
    barcode = zxingcpp.create_barcode(LINK, zxingcpp.BarcodeFormat.QRCode)
    return Image.fromarray(zxingcpp.write_barcode_to_image(barcode, scale=6)).convert("L")


def forged(text: str) -> str:
    return text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]


# --- pictures and PDFs ---------------------------------------------------------------------


def test_the_credential_of_a_poster_is_verified(vaxpass, desk: Desk, tmp_path: Path) -> None:
    """A link beside it is passed over."""
    path = tmp_path / "poster.png"
    path.write_bytes(png(poster(), symbol(desk.text)))
    done = vaxpass("verify", "--trust", desk.trust, path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == f"VALID  {path}"


def test_a_link_alone_is_not_valid(vaxpass, desk: Desk) -> None:
    """It was read, and is no credential: exit 1."""
    done = vaxpass("verify", "--json", "--trust", desk.trust, stdin=png(poster()))
    assert (done.code, done.objects[0]["reason"]) == (1, "not_hc1")


def test_a_picture_of_two_people(vaxpass, desk: Desk, tmp_path: Path) -> None:
    """Each is verified and numbered from the top; one that is not valid decides."""
    path = tmp_path / "two.png"
    path.write_bytes(png(symbol(desk.text), symbol(forged(desk.text))))
    done = vaxpass("verify", "--json", "--trust", desk.trust, path)
    assert [(o["input"], o["valid"]) for o in done.objects] == [
        (f"{path}, QR code 1", True),
        (f"{path}, QR code 2", False),
    ]
    assert done.code == 1


def test_a_smudged_code_beside_a_good_one_is_undecided(vaxpass, desk: Desk) -> None:
    """The good one's Verdict is given, and exit 2 says that this is not all."""
    smudged = symbol(forged(desk.text))
    smudged.paste(255, (150, 150, smudged.width - 150, smudged.height - 150))
    picture = png(symbol(desk.text), smudged)
    done = vaxpass("verify", "--trust", desk.trust, stdin=picture)
    assert done.code == 2
    assert done.out.startswith("VALID  standard input\n")
    assert "a QR code was found on the picture and can't be read" in done.err
    assert "1 valid, 0 not valid, 1 could not be read" in done.err


def test_a_pdf_is_verified_page_by_page(vaxpass, desk: Desk, tmp_path: Path) -> None:
    """The place is the page, and the code's number where there are several."""
    path = tmp_path / "scan.pdf"
    sheet = drawn(desk.text, 50) + drawn(forged(desk.text), 50, top=400)
    path.write_bytes(pages([b"", drawn(desk.text, 50), sheet]))
    done = vaxpass("verify", "--json", "--trust", desk.trust, path)
    assert [(o["input"], o["valid"]) for o in done.objects] == [
        (f"{path}, page 2", True),
        (f"{path}, page 3, QR code 1", True),
        (f"{path}, page 3, QR code 2", False),
    ]
    assert (done.code, done.err) == (1, "")


def test_a_page_with_a_smudged_code_is_undecided(vaxpass, desk: Desk, tmp_path: Path) -> None:
    """What could be read of it is verified all the same."""
    path = tmp_path / "scan.pdf"
    smudge = b"1 g 85 660 80 80 re f\n"
    smudged = drawn(forged(desk.text), 50) + smudge
    path.write_bytes(pages([smudged, drawn(desk.text, 50)]))
    done = vaxpass("verify", "--json", "--trust", desk.trust, path)
    assert [(o["input"], o["valid"]) for o in done.objects] == [
        (f"{path}, page 1", None),
        (f"{path}, page 2", True),
    ]
    assert done.code == 2
    assert done.message == done.objects[0]["error"]
    # What the smudge leaves may look like several.
    found = r"(a QR code was|\d QR codes were) found on the page and can't be read"
    assert re.search(f"^{re.escape(str(path))}, page 1: {found}", done.message)


def test_a_pdf_is_inspected(vaxpass, desk: Desk, tmp_path: Path) -> None:
    """inspect reads it too."""
    path = tmp_path / "scan.pdf"
    path.write_bytes(pages([drawn(desk.text, 50)]))
    done = vaxpass("inspect", path)
    assert done.code == 0
    assert done.out.startswith(f"NOT CHECKED  {path}, page 1\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda text: pages([drawn(text, 50)])[:900], "the PDF is damaged"),
        (lambda text: pages([b"", b""]), "no QR code was found on any page of the PDF (it has 2)"),
        (lambda text: pages([drawn(text, 50)] * 101), "has 101 pages"),
    ],
)
def test_a_pdf_that_can_not_be_read(vaxpass, desk: Desk, tmp_path: Path, make, words) -> None:
    """One line that names it, exit 2."""
    path = tmp_path / "bad.pdf"
    path.write_bytes(make(desk.text))
    done = vaxpass("verify", "--trust", desk.trust, path)
    assert (done.code, done.out) == (2, "")
    assert done.message.startswith(f"{path}: ")
    assert words in done.message


# --- folders -------------------------------------------------------------------------------


@pytest.fixture
def tray(desk: Desk, tmp_path: Path) -> Path:
    """A folder as a scanner leaves it: three kinds of files, a subfolder and a hidden file."""
    tray = tmp_path / "tray"
    (tray / "older").mkdir(parents=True)
    (tray / "older" / "1.png").write_bytes(b"never read")
    (tray / ".10.png.part").write_bytes(b"never read")
    write_qr(desk.text, tray / "10.png")
    (tray / "9.pdf").write_bytes(pages([drawn(desk.text, 50)]))
    (tray / "2.txt").write_text(f"\n  {desk.text}\n{desk.text}\n")
    symbol(desk.text).save(tray / "page.jpg")
    return tray


def test_a_folder_is_read_in_natural_order(vaxpass, desk: Desk, tray: Path) -> None:
    """Every file but hidden ones and subfolders, 2 before 9 before 10."""
    done = vaxpass("verify", "--json", "--trust", desk.trust, tray)
    assert [(o["input"], o["line"]) for o in done.objects] == [
        (f"{tray}/2.txt", 2),
        (f"{tray}/2.txt", 3),
        (f"{tray}/9.pdf, page 1", None),
        (f"{tray}/10.png", None),
        (f"{tray}/page.jpg", None),
    ]
    assert (done.code, done.err) == (0, "")
    assert vaxpass("inspect", tray).code == 0


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has 107 bytes at most
        bound.bind(path.name)
        os.chdir(here)


OTHERS: dict[str, tuple[Callable[[Path, Desk], object], str]] = {
    "notes.txt": (lambda p, desk: p.write_text("call the ministry\n"), "does not begin as a pay"),
    "table.csv": (lambda p, desk: p.write_text("full_name,born\nThí Dụ,1987\n"), "does not begin"),
    "book.xlsx": (lambda p, desk: p.write_bytes(b"PK\x03\x04\x14\0"), "found neither text nor PNG"),
    "empty.png": (lambda p, desk: p.write_bytes(b""), "found nothing"),
    "cut.pdf": (lambda p, desk: p.write_bytes(b"%PDF-1.7\n"), "the PDF is damaged"),
    "blank.png": (lambda p, desk: Image.new("L", (9, 9)).save(p), "no QR code was found"),
    "link.txt": (lambda p, desk: p.symlink_to(desk.payload), "is a symbolic link"),
    "folder": (lambda p, desk: p.symlink_to(desk.trust), "is a symbolic link"),
    "broken": (lambda p, desk: p.symlink_to("nowhere"), "is a symbolic link"),
    "pipe": (lambda p, desk: os.mkfifo(p), "is a pipe or device"),
    "socket": (lambda p, desk: as_socket(p), "No such device"),
}


@pytest.mark.parametrize(
    ("name", "make", "words"), [(k, *v) for k, v in OTHERS.items()], ids=OTHERS
)
def test_another_file_of_a_folder_is_undecided(
    vaxpass, desk: Desk, tray: Path, name: str, make, words: str
) -> None:
    """One line on stderr that names it, exit 2, and all others are verified."""
    make(tray / name, desk)
    done = vaxpass("verify", "--trust", desk.trust, tray)
    assert done.code == 2
    assert done.out.count("VALID  ") == 5
    unread, counted = done.err.splitlines()
    assert str(tray / name) in unread
    assert words in unread
    assert not any(word in unread for word in PERSONAL)
    assert counted.endswith("5 valid, 0 not valid, 1 could not be read")


def test_a_file_for_itself_is_judged_line_by_line(vaxpass, desk: Desk, tray: Path) -> None:
    """The note that a folder's reader leaves alone is not valid when it is what was asked for."""
    (tray / "notes.txt").write_text("call the ministry\n")
    assert vaxpass("verify", "--trust", desk.trust, tray / "notes.txt").code == 1


def test_a_forged_one_in_a_folder_decides(vaxpass, desk: Desk, tray: Path) -> None:
    """Exit 1, also when another could not be read."""
    (tray / "3.txt").write_text(forged(desk.text))
    (tray / "4.bin").write_bytes(bytes(9))
    assert vaxpass("verify", "--trust", desk.trust, tray).code == 1


@pytest.mark.parametrize("subfolders", [0, 2])
def test_an_empty_folder(vaxpass, desk: Desk, tmp_path: Path, subfolders: int) -> None:
    """It is an error that says what was found instead."""
    for number in range(subfolders):
        (tmp_path / f"{number}").mkdir()
    (tmp_path / ".hidden").write_text(desk.text)
    done = vaxpass("verify", "--trust", desk.trust, tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path}: found no file" in done.message
    assert ("2 subfolders" in done.message) == bool(subfolders)


def test_too_many_files(vaxpass, desk: Desk, tray: Path, monkeypatch) -> None:
    """None of them is read."""
    monkeypatch.setattr(folder, "MAX_FILES", 4)
    assert vaxpass("verify", "--trust", desk.trust, tray).code == 0
    monkeypatch.setattr(folder, "MAX_FILES", 3)
    done = vaxpass("verify", "--trust", desk.trust, tray)
    assert (done.code, done.out) == (2, "")
    assert "more than 3 files" in done.message


def test_one_file_at_a_time(tray: Path) -> None:
    """Each file is opened when its turn comes and closed before the next: what goes in between is
    reported, what comes is not seen."""
    found = read_inputs([str(tray)])
    next(found)
    next(found)
    (tray / "9.pdf").unlink()
    (tray / "99.txt").write_text("HC1:")
    rest = list(found)
    assert [type(item) for item in rest] == [Unread, Payload, Payload]
    assert "No such file" in str(rest[0].error)


def test_a_name_that_is_no_utf8(vaxpass, desk: Desk, tray: Path) -> None:
    """It is shown as it can be, for a person and for a program."""
    (tray / os.fsdecode(b"9\xff.bin")).write_bytes(bytes(9))
    for options in ([], ["--json"]):
        done = vaxpass("verify", *options, "--trust", desk.trust, tray)
        assert done.code == 2
        assert all(line.isprintable() for line in (done.out + done.err).split("\n"))


# --- pipes ---------------------------------------------------------------------------------


def piped(desk: Desk) -> dict[str, bytes]:
    return {
        "lines": f"{desk.text}\n{desk.text}\n".encode(),
        "a line without end": desk.text.encode(),
        "a picture": png(symbol(desk.text)),
        "a PDF": pages([drawn(desk.text, 50)]),
    }


KINDS = ("lines", "a line without end", "a picture", "a PDF")


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_to_standard_input(desk: Desk, tmp_path: Path, kind: str) -> None:
    """``cat x | vaxpass-sign verify -``, in a real shell."""
    path = tmp_path / "x"
    path.write_bytes(piped(desk)[kind])
    script = 'cat "$0" | "$@"'
    done = subprocess.run(
        ["bash", "-c", script, path, *PROGRAM, "verify", "--trust", desk.trust, "-"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.count("VALID  standard input")) == (
        0,
        piped(desk)[kind].count(b"\n") or 1 if kind == "lines" else 1,
    ), done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_as_an_argument(desk: Desk, tmp_path: Path, kind: str) -> None:
    """``vaxpass-sign verify <(cat x) <(cat x)``, in a real shell."""
    path = tmp_path / "x"
    path.write_bytes(piped(desk)[kind])
    script = '"$@" <(cat "$0") <(cat "$0")'
    done = subprocess.run(
        ["bash", "-c", script, path, *PROGRAM, "verify", "--json", "--trust", desk.trust],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(found) == (4 if kind == "lines" else 2)
    assert all(item["valid"] and item["input"].startswith("/dev/fd/") for item in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_that_is_slow(desk: Desk, tmp_path: Path, kind: str) -> None:
    """A named pipe whose first bytes come one by one, before they tell what it is."""
    path, data = tmp_path / "pipe", piped(desk)[kind]
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for at in range(9):
                pipe.write(data[at : at + 1])
                time.sleep(0.02)
            pipe.write(data[9:])

    writer = threading.Thread(target=write)
    writer.start()
    done = subprocess.run(
        [*PROGRAM, "verify", "--trust", desk.trust, path], capture_output=True, timeout=60
    )
    writer.join(timeout=10)
    assert done.returncode == 0, done.stderr


def test_a_line_is_answered_before_the_pipe_ends(desk: Desk) -> None:
    """A scanner that types a line gets its Verdict at once, though more may come."""
    command = [*PROGRAM, "verify", "--json", "--trust", desk.trust, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        for text, valid in (
            ("HC1:NO", False),
            (desk.text, True),
            (forged(desk.text), False),
            (desk.text, True),
        ):
            running.stdin.write(f"{text}\n".encode())
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["valid"] is valid
        running.stdin.close()
        assert running.wait(timeout=30) == 1


def test_a_pipe_that_ends_within_its_magic_number(vaxpass, desk: Desk) -> None:
    """A beginning of a beginning is no picture; nothing waits for more of it."""
    for head in (b"\x89PN", b"\xff\xd8"):
        done = vaxpass("verify", "--trust", desk.trust, stdin=head)
        assert done.code == 2
        assert "found neither text nor PNG" in done.message
    assert vaxpass("verify", "--trust", desk.trust, stdin=b"%PD").code == 1
