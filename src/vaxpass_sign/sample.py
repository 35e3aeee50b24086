"""Made-up people for demonstrations, benchmarks and tests; nobody real.

The same count and seed give the same rows. Names follow the usual Vietnamese shares of family
names only roughly; what matters is that lengths, accents and birth dates look like the real ones.

>>> rows = dose_rows(2, seed=7)
>>> sorted(rows[0])[:4], rows == dose_rows(2, seed=7)
(['birth_date', 'dose_number', 'facility_id', 'full_name'], True)
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from vaxpass_sign.prepare.doses import record_from_row
from vaxpass_sign.record.model import VaccinationRecord

__all__ = ["dose_rows", "each_dose_row", "records"]

_FAMILY = (
    "Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý Nông Triệu Hà Lương"
).split()
_FAMILY_WEIGHTS = (38, 12, 9, 7, 5, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1)
_MIDDLE_F = "Thị Thu Ngọc Thanh Minh Phương Kim Hồng Thùy".split()
_MIDDLE_M = "Văn Hữu Đức Minh Quang Công Xuân Ngọc Thành".split()
_GIVEN_F = (
    "An Anh Bình Chi Dung Giang Hà Hạnh Hiền Hoa Hương Lan Linh Loan Mai My Nga Ngân Nhung Oanh "
    "Phượng Quyên Thảo Thủy Trang Tuyết Uyên Vân Yến"
).split()
_GIVEN_M = (
    "An Anh Bảo Bình Chiến Cường Dũng Duy Đạt Hải Hiếu Hòa Hùng Khánh Kiên Lâm Long Nam Phong Phúc "
    "Quân Sơn Tài Thắng Thịnh Tiến Toàn Trung Tuấn Việt"
).split()
_VACCINES = ("AstraZeneca", "Pfizer", "Moderna", "Vero Cell", "Sputnik V")
_VACCINE_WEIGHTS = (35, 30, 10, 20, 5)


def dose_rows(count: int, *, seed: int = 1) -> list[dict[str, str]]:
    """``count`` rows of a dose table, one for each person."""
    return list(each_dose_row(count, seed=seed))


def each_dose_row(count: int, *, seed: int = 1) -> Iterator[dict[str, str]]:
    """The rows of :func:`dose_rows` one by one, for tables that don't fit into memory."""
    rng = random.Random(seed)  # noqa: S311 (made-up people, no secret)
    return (_row(rng, number) for number in range(1, count + 1))


def records(count: int, *, seed: int = 1) -> list[VaccinationRecord]:
    """The records of :func:`dose_rows`."""
    return [record_from_row(row) for row in dose_rows(count, seed=seed)]


def _row(rng: random.Random, number: int) -> dict[str, str]:
    female = rng.random() < 0.5
    middle, given = (_MIDDLE_F, _GIVEN_F) if female else (_MIDDLE_M, _GIVEN_M)
    words = [rng.choices(_FAMILY, _FAMILY_WEIGHTS)[0], rng.choice(middle)]
    if rng.random() < 0.3:
        words.append(rng.choice(given))
    words.append(rng.choice(given))
    year = rng.randint(1935, 2009)
    # For some of the old only the year of birth is known.
    birth_date = f"{year}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    if year < 1950 and rng.random() < 0.5:
        birth_date = str(year)
    return {
        "facility_id": f"TN{rng.randint(1, 180):03}",
        "province_code": "019",
        "record_id": f"{number:07}",
        "full_name": " ".join(words),
        "birth_date": birth_date,
        "sex": "F" if female else "M",
        "vaccine_name": rng.choices(_VACCINES, _VACCINE_WEIGHTS)[0],
        "dose_number": str(rng.choices((1, 2, 3), (10, 55, 35))[0]),
        "vaccination_date": f"2021-{rng.randint(7, 12):02}-{rng.randint(1, 28):02}",
        "lot": f"L{rng.randint(1000, 9999)}",
    }
