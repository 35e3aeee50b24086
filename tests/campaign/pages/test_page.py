"""The report's and the audit's page, in a real browser: figures, charts, and nothing that runs."""

from __future__ import annotations

import html
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from browser import open_page, screenshot
from vaxpass_sign.campaign.audit.findings import Finding
from vaxpass_sign.campaign.pages.page import AuditView, render_audit, render_report
from vaxpass_sign.campaign.report.progress import FacilityProgress, Progress, RatePoint

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
HOSTILE = (
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "'\"><svg onload=document.title='run'>",
    "\u202egnirts",
    "\x00\x1b[2J",
    "{{ 7 * 7 }}",
    "&amp;",
    "x" * 10_000,
    "]]>--><!--",
    "https://example.invalid/x.png",
)


def facility(province: str, name: str, signed: int, waiting: int = 0, **more) -> FacilityProgress:
    clean = signed + waiting + more.get("refused", 0) + more.get("superseded", 0)
    return FacilityProgress(
        province_code=province,
        facility_id=name,
        rows_clean=clean,
        signed=signed,
        waiting=waiting,
        **more,
    )


def progress(*facilities: FacilityProgress, **changes) -> Progress:
    facts = {
        "campaign": "thai-nguyen-2026",
        "generated_at": NOW,
        "time_zone": "Asia/Ho_Chi_Minh",
        "issuer": "Bộ Y tế",
        "facilities": facilities,
        "reasons": (("birth_date: found nothing", 12), ("vaccine_name: found 6 characters", 30)),
        "rate": tuple(RatePoint(1_777_600_000 + 60 * n, 60, 1000 + 100 * n) for n in range(10)),
        "input_rows": 100_000,
        "repeated": 5,
        "head": "ab" * 32,
        "last_issued_at": NOW,
        "expires_first": NOW.replace(year=2027),
    }
    return Progress(**(facts | changes))


USUAL = progress(
    facility("019", "TN001", 12_345, 678, rejected=30),
    facility("019", "TN002", 500, 0, refused=2, superseded=3),
    facility("020", "LC001", 0, 901, rejected=12),
)


def write(folder: Path, text: str) -> Path:
    page = folder / "page.html"
    page.write_text(text, encoding="utf-8")
    return page


def test_a_report_in_the_browser(tmp_path: Path) -> None:
    """Every figure of every facility is there, and four charts' worth of pictures; nothing fails."""
    seen = open_page(write(tmp_path, render_report(USUAL)), tmp_path)
    assert seen.console == ()
    for figure in ("14,429", "12,845", "1,579", "12,345", "678", "901", "42"):
        assert figure in seen.text, figure
    for words in ("thai-nguyen-2026", "Bộ Y tế", "TN001", "LC001", "birth_date: found nothing"):
        assert words in seen.text
    assert seen.dom.count("<svg") >= 3
    assert "ab" * 32 in seen.text.replace(" ", "")
    assert re.search(
        r"14,429 clean = .*12,845 signed .*1,579 waiting .*2 refused .*3 superseded", seen.text
    )


@pytest.mark.parametrize("width", [360, 1200])
def test_a_report_has_a_picture_at_any_width(tmp_path: Path, width: int) -> None:
    """A phone and a desk both get a page that is not blank."""
    picture = screenshot(write(tmp_path, render_report(USUAL)), tmp_path, width=width)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 15_000


@pytest.mark.parametrize(("dark", "bright"), [(False, True), (True, False)], ids=["light", "dark"])
def test_a_page_keeps_to_the_reader_s_colours(tmp_path: Path, dark: bool, bright: bool) -> None:
    """Who prefers dark gets a dark page, and who prefers light a light one."""
    page = write(tmp_path, render_report(USUAL))
    picture = Image.open(io.BytesIO(screenshot(page, tmp_path, width=1200, dark=dark)))
    ground = picture.convert("L").getpixel((5, 990))
    assert (ground > 200) is bright
    assert (ground < 50) is dark


def test_a_facility_without_records_to_sign_is_no_dash() -> None:
    """Rejected rows alone: nothing to sign is said in words."""
    assert "nothing to sign" in render_report(progress(facility("019", "", 0, rejected=2)))


def test_hostile_text_is_text(tmp_path: Path) -> None:
    """Names, ids and reasons that are markup, scripts, controls or endless are shown, and never run."""
    hostile = progress(
        *(facility(text[:50], text, 10, 5, rejected=1) for text in HOSTILE),
        campaign=HOSTILE[0],
        issuer=HOSTILE[1],
        reasons=tuple((text, 3) for text in HOSTILE),
    )
    page = render_report(hostile)
    seen = open_page(write(tmp_path, page), tmp_path)
    assert "<title>run" not in seen.dom
    assert seen.console == ()
    assert "<script" not in page
    assert html.escape("<script>", quote=False) in page
    assert "{{ 7 * 7 }}" in seen.text
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert len(page) < 500_000


def test_nothing_is_fetched_and_nothing_may_run() -> None:
    """The policy forbids scripts and resources, and the page has none."""
    for page in (
        render_report(USUAL),
        render_audit(AuditView("c", NOW, "ab", (("a", "b"),), (), ())),
    ):
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert not re.search(r'(?:src|href)="(?!data:|#)', page)
        assert "@import" not in page
        assert not re.search(r"url\((?!#)", page)
        assert not re.search(r"\son\w+=", page)


def test_the_same_figures_give_the_same_bytes() -> None:
    """Two renderings are equal, so that reports can be compared."""
    assert render_report(USUAL) == render_report(USUAL)


def test_thousands_of_facilities(tmp_path: Path) -> None:
    """The page stays a few megabytes, and the sums are right."""
    many = progress(
        *(facility(f"{n % 63:03}", f"F{n:05}", n, 1) for n in range(4000)), input_rows=10**8
    )
    page = render_report(many)
    assert len(page) < 4_000_000
    assert f"{sum(range(4000)):,}" in page


def test_before_there_is_anything(tmp_path: Path) -> None:
    """An empty campaign makes a sensible page."""
    empty = progress(
        reasons=(), rate=(), input_rows=0, repeated=0, last_issued_at=None, expires_first=None
    )
    seen = open_page(write(tmp_path, render_report(empty)), tmp_path)
    assert seen.console == ()
    assert "thai-nguyen-2026" in seen.text


def test_an_audit_page(tmp_path: Path) -> None:
    """Clean is said at once; findings are named with what to do."""
    checked = (("credentials", "54 of 54 verified"),)
    clean = AuditView("c", NOW, "ab" * 32, checked, (), (("credentials", 54),), "Asia/Ho_Chi_Minh")
    seen = open_page(write(tmp_path, render_audit(clean)), tmp_path)
    assert "Clean: nothing was found" in seen.text
    assert "54 of 54 verified" in seen.text
    findings = tuple(Finding("file", text, text, "restore it") for text in ("a.parquet", *HOSTILE))
    bad = AuditView("c", NOW, "ab" * 32, checked, findings, (("credentials", 54),))
    seen = open_page(write(tmp_path, render_audit(bad)), tmp_path)
    assert f"{len(findings)} findings" in seen.text
    assert "a.parquet" in seen.text
    assert "restore it" in seen.text
    assert "<title>run" not in seen.dom
    assert seen.console == ()


def test_an_audit_that_checked_nothing_is_not_clean(tmp_path: Path) -> None:
    """No finding alone is no proof."""
    assert "Nothing was checked" in render_audit(AuditView("c", NOW, "", (), (), ()))
