"""Grey pixels → the QR symbols on them.

A poster or a sheet has other codes beside a credential's, and perhaps several credentials: the
texts that begin as an HCERT does are taken, and when none does, whatever there is, so that a
Verdict can say what it is not.

>>> hcerts_first(["https://example.org", "HC1:6BF", "HC1:6BF"])
('HC1:6BF',)
>>> hcerts_first(["https://example.org"])
('https://example.org',)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.framing import PREFIX

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_SIDE", "Symbols", "find_symbols", "hcerts_first"]

MAX_SIDE = 65_535
"""zxing-cpp counts pixels in 16 bits."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """The texts of the symbols, from top to bottom, and how many more can't be read."""

    texts: tuple[str, ...]
    damaged: int = 0

    @property
    def complete(self) -> bool:
        """Whether an HCERT was found, and nothing that can't be read."""
        return not self.damaged and any(text.startswith(PREFIX) for text in self.texts)

    def error(self, where: str) -> InputError:
        """What is said of the damaged ones; ``where``: the picture or page that they are on."""
        codes = "a QR code was" if self.damaged == 1 else f"{self.damaged} QR codes were"
        return InputError(
            f"{codes} found on {where} and can't be read; take the picture again: sharp, straight "
            "on, with the whole code and its white margin"
        )

    def __or__(self, other: Symbols) -> Symbols:
        """What two tries at one picture found; what one of them read is not damaged."""
        texts = tuple((Counter(self.texts) | Counter(other.texts)).elements())
        seen = max(len(self.texts) + self.damaged, len(other.texts) + other.damaged)
        return Symbols(texts, max(0, seen - len(texts)))


def hcerts_first(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts that begin as an HCERT does; all of them when none does. Each is given once."""
    each = tuple(dict.fromkeys(texts))
    return tuple(text for text in each if text.startswith(PREFIX)) or each


def find_symbols(grey: Image.Image) -> Symbols:
    """Every QR symbol of an 8-bit grey picture, in any orientation; light on dark too."""
    import zxingcpp

    pixels = memoryview(grey.tobytes()).cast("B", shape=(grey.height, grey.width))
    found = zxingcpp.read_barcodes(
        pixels,
        zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode),
        text_mode=zxingcpp.TextMode.Plain,
        return_errors=True,
    )
    read = sorted(((_box(s), s.text) for s in found if s.valid), key=lambda s: (s[0][1], s[0][0]))
    boxes = [box for box, _ in read]
    # The detector may see one symbol twice, well and badly; and a bad one in several places.
    bad: list[Box] = []
    for box in (_box(symbol) for symbol in found if not symbol.valid):
        if not any(_middle_within(box, other) for other in (*boxes, *bad)):
            bad.append(box)
    return Symbols(tuple(text for _, text in read), len(bad))


def _box(symbol: Any) -> Box:
    at = symbol.position
    corners = (at.top_left, at.top_right, at.bottom_left, at.bottom_right)
    across, down = [corner.x for corner in corners], [corner.y for corner in corners]
    return min(across), min(down), max(across), max(down)


def _middle_within(box: Box, other: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] <= x <= other[2] and other[1] <= y <= other[3]
