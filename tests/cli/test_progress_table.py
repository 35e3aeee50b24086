"""The report in the terminal: every figure in its place, and nothing hostile gets through."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vaxpass_sign.campaign.report.progress import FacilityProgress, Progress, RatePoint
from vaxpass_sign.cli.progress_table import progress_lines


def progress(*facilities: FacilityProgress, **changes) -> Progress:
    facts = {
        "campaign": "thai-nguyen-2026",
        "generated_at": datetime(2026, 5, 1, tzinfo=UTC),
        "time_zone": "Asia/Ho_Chi_Minh",
        "issuer": "Bộ Y tế",
        "facilities": facilities,
        "reasons": (),
        "rate": (RatePoint(0, 10, 5),),
        "input_rows": 1000,
        "repeated": 0,
        "head": "ab" * 32,
    }
    return Progress(**(facts | changes))


def facility(place: str, signed: int, waiting: int = 0, **more: int) -> FacilityProgress:
    province, _, name = place.partition(" ")
    clean = signed + waiting + more.get("refused", 0) + more.get("superseded", 0)
    return FacilityProgress(
        province_code=province,
        facility_id=name,
        rows_clean=clean,
        signed=signed,
        waiting=waiting,
        **more,
    )


def lines(found: Progress, width: int = 100) -> list[str]:
    return list(progress_lines(found, width=width))


def figures(table: list[str], name: str) -> list[str]:
    [line] = [line for line in table if line.startswith(name)]
    return line[len(name) :].split()


def test_figures_by_province_and_facility() -> None:
    """Sums by province, facilities below, all of it right-aligned under its heading."""
    found = lines(
        progress(
            facility("019 TN001", 100, 20, rejected=3),
            facility("019 TN002", 50, 0, refused=1, superseded=2),
            facility("020 X", 0, 7),
            last_issued_at=datetime(2026, 4, 30, tzinfo=UTC),
            expires_first=datetime(2027, 4, 1, tzinfo=UTC),
            renewals=12,
        )
    )
    assert found[1] == "input rows 1,000 = 997 merged + 3 rejected + 0 repeated"
    assert "renewals 12" in found[2]
    assert figures(found, "019   ") == ["173", "150", "20", "1", "2", "87.7%", "3"]
    assert figures(found, "all") == ["180", "150", "27", "1", "2", "84.2%", "3"]
    assert figures(found, "019 TN001") == ["120", "100", "20", "0", "0", "83.3%", "3"]
    assert figures(found, "020 X") == ["7", "0", "7", "0", "0", "0%", "0"]
    assert found[-1] == f"head {'ab' * 32}"


def test_many_facilities_show_those_that_wait() -> None:
    """With more than twenty the ones with the most waiting are shown, and how many there are."""
    many = [facility(f"019 F{n:03}", 10, n) for n in range(60)]
    found = lines(progress(*many, input_rows=100_000))
    assert "the 20 of 60 facilities with most waiting" in found
    assert any(line.startswith("019 F059") for line in found)
    assert not any(line.startswith("019 F010") for line in found)


def test_reasons() -> None:
    """The ten with the most rows, the others summed up."""
    reasons = tuple((f"field{n}: found a thing", n + 1) for n in range(12))
    found = lines(progress(facility("019 A", 1, rejected=50), reasons=reasons))
    place = found.index("rejected because")
    assert found[place + 1].split(maxsplit=1) == ["12", "field11: found a thing"]
    assert found[place + 11].split(maxsplit=1) == ["3", "2 other reasons"]


HOSTILE = ["\x1b[2J", "\u202egnirts", "a\nb", "[red]x[/red]", "x" * 5000, "", "\x00"]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_hostile_ids_and_reasons(text: str) -> None:
    """Nothing moves the cursor, turns the direction, colours a line or breaks it."""
    found = lines(
        progress(
            facility(f"019 {text}", 1, rejected=1),
            facility(f"{text[:80]} B", 2),
            reasons=((text, 1),),
            campaign=text,
            issuer=text,
        )
    )
    for line in found:
        assert line.isprintable() or line == ""
        assert len(line) <= 150
    if "red" in text:
        assert any("[red]" in line for line in found)


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_any_width(width: int) -> None:
    """A narrow terminal still gets every figure."""
    found = lines(progress(facility("019 TN001", 123_456, 20, rejected=3)), width)
    assert any("123,456" in line for line in found)


def test_nothing_yet() -> None:
    """Without a clean row there is a table of zeros, and no error."""
    found = lines(progress(input_rows=0))
    assert figures(found, "all") == ["0", "0", "0", "0", "0", "-", "0"]
