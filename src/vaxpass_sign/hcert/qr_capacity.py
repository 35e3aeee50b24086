"""How many characters a QR symbol holds at error correction level Q, alphanumeric mode.

An HCERT is printed at level Q (eu-dcc-hcert-spec §4.3.2). The number of data codewords a version
holds is ISO/IEC 18004 table 7; from it follows the capacity: a mode indicator of 4 bits, a
character count of 9, 11 or 13 bits, then 11 bits for two characters and 6 for a last one.

>>> qr_version(574), qr_version(575), qr_version(2420), qr_version(2421)
(18, 19, 40, None)
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["QR_CAPACITY", "qr_version"]

_DATA_CODEWORDS_Q = (
    *(13, 22, 34, 48, 62, 76, 88, 110, 132, 154),
    *(180, 206, 244, 261, 295, 325, 367, 397, 445, 485),
    *(512, 568, 614, 664, 718, 754, 808, 871, 911, 985),
    *(1033, 1115, 1171, 1231, 1286, 1354, 1426, 1502, 1582, 1666),
)


def _capacity(version: int, codewords: int) -> int:
    count_bits = 9 if version < 10 else 11 if version < 27 else 13
    pairs, rest = divmod(codewords * 8 - 4 - count_bits, 11)
    return 2 * pairs + (rest >= 6)


QR_CAPACITY = tuple(_capacity(v, n) for v, n in enumerate(_DATA_CODEWORDS_Q, start=1))
"""Characters that version 1, 2, … 40 holds at level Q."""


def qr_version(length: int) -> int | None:
    """The smallest version (1 to 40) that holds ``length`` characters; None if none does."""
    version = bisect_left(QR_CAPACITY, length) + 1
    return version if version <= len(QR_CAPACITY) else None
