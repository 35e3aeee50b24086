"""The report's and the audit's page: one HTML file that needs nothing else.

A page holds its style and its charts; no script, no address that a browser would fetch, and a
policy that forbids both. Names, ids and reasons come from tables that anybody may have written:
each is shown as text (Jinja2 escapes everything), without what could steer its direction or hide
it, and cut to a length that leaves the page in shape
(:func:`vaxpass_sign.campaign.pages.wording.shown`). The same figures give the same bytes. Needs the
extra ``batch`` (Jinja2, matplotlib).

>>> checked = (("signatures", "1,000 verified"),)
>>> view = AuditView("tn-2026", datetime(2026, 5, 1, tzinfo=UTC), "ab12", checked, (), ())
>>> view.ok, render_audit(view).startswith("<!doctype html>")
(True, True)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from vaxpass_sign.campaign.audit.findings import Finding
from vaxpass_sign.campaign.pages.report_charts import (
    chart_of_progress,
    chart_of_rate,
    chart_of_reasons,
)
from vaxpass_sign.campaign.pages.wording import (
    facility_name,
    province_name,
    shown,
    time_text,
    zone_of,
)
from vaxpass_sign.campaign.report.progress import (
    FacilityProgress,
    Progress,
    ProvinceProgress,
    percent,
    total_of,
)
from vaxpass_sign.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["AuditView", "render_audit", "render_report"]

_MAX_FACILITIES = 10_000
_MAX_REASONS = 50
_MAX_FINDINGS = 1_000
_MAX_SENTENCE = 400


@dataclass(frozen=True, slots=True)
class AuditView:
    """What an audit's page shows.

    Attributes:
        campaign: the campaign's name.
        generated_at: when the audit ended; aware.
        head: the ledger's head hash.
        checked: what was checked, and the outcome in words with its counts.
        findings: what is wrong; nothing when all is well.
        counts: headline figures, each with its name.
        time_zone: IANA name, in which times are shown.
    """

    campaign: str
    generated_at: datetime
    head: str
    checked: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    counts: tuple[tuple[str, int], ...]
    time_zone: str = "UTC"

    @property
    def ok(self) -> bool:
        """True when something was checked and nothing was found."""
        return bool(self.checked) and not self.findings


def render_report(progress: Progress) -> str:
    """A campaign's progress as an HTML page; a few megabytes at the most.

    Raises: MissingExtraError.
    """
    zone = zone_of(progress.time_zone)
    total, provinces = progress.total, progress.by_province()
    listed, folded = _listed(progress.facilities)
    return _render(
        "report.html.j2",
        progress=progress,
        total=total,
        provinces=[_province(province, listed) for province in provinces],
        folded=folded,
        reasons=progress.top_reasons()[:_MAX_REASONS],
        other_reasons=progress.top_reasons()[_MAX_REASONS:],
        done_chart=chart_of_progress(provinces),
        reasons_chart=chart_of_reasons(progress),
        rate_chart=chart_of_rate(progress, zone),
        generated=time_text(progress.generated_at, zone),
        last_issued=time_text(progress.last_issued_at, zone),
        expires_first=time_text(progress.expires_first, zone),
        zone_name=progress.time_zone if zone is not UTC else "UTC",
    )


def render_audit(audit: AuditView) -> str:
    """An audit's outcome as an HTML page: clean, or each finding by name and what to do.

    Raises: MissingExtraError.
    """
    zone = zone_of(audit.time_zone)
    return _render(
        "audit.html.j2",
        audit=audit,
        findings=audit.findings[:_MAX_FINDINGS],
        kinds=sorted(Counter(f.kind for f in audit.findings).items(), key=lambda k: (-k[1], k[0])),
        generated=time_text(audit.generated_at, zone),
        zone_name=audit.time_zone if zone is not UTC else "UTC",
    )


# --- the tables ----------------------------------------------------------------------------


def _listed(facilities: Sequence[FacilityProgress]) -> tuple[frozenset[tuple[str, str]], int]:
    """The facilities that get a row of their own, and how many are left out.

    Those with the most to do, where there are more than a page can hold.
    """

    def urgency(facility: FacilityProgress) -> tuple[int, int, int, str, str]:
        to_do = facility.waiting + facility.refused
        name = (facility.province_code, facility.facility_id)
        return (-to_do, -facility.rejected, -facility.rows_clean, *name)

    chosen = sorted(facilities, key=urgency)[:_MAX_FACILITIES]
    return (
        frozenset((f.province_code, f.facility_id) for f in chosen),
        len(facilities) - len(chosen),
    )


def _province(province: ProvinceProgress, listed: frozenset[tuple[str, str]]) -> dict[str, Any]:
    rows = [f for f in province.facilities if (f.province_code, f.facility_id) in listed]
    others = [f for f in province.facilities if (f.province_code, f.facility_id) not in listed]
    return {
        "name": province_name(province.province_code),
        "counts": province,
        "facilities": [(facility_name(f.facility_id), f) for f in rows],
        "others": len(others),
        "others_counts": total_of(others),
    }


# --- the page ------------------------------------------------------------------------------


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report's page", "batch") from error
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vaxpass_sign.campaign.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["shown"] = shown
    environment.filters["sentence"] = lambda text: shown(text, _MAX_SENTENCE)
    environment.filters["percent"] = percent
    # Only a chart's SVG, whose labels are escaped where it is made.
    environment.filters["svg"] = Markup
    return environment
