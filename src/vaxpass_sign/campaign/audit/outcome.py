"""An audit's outcome, for people and for programs: lines, a JSON file, a page.

reports/audit.json has every figure and finding; reports/audit.html is one page that needs nothing
else. Both replace those of the audit before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.audit.run import AuditReport
from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.pages.page import AuditView, render_audit
from vaxpass_sign.campaign.settings import read_settings
from vaxpass_sign.durable import write_file
from vaxpass_sign.errors import VaxpassError

__all__ = ["audit_json", "audit_lines", "write_audit"]

_LINES_AT_MOST: Final = 50


def audit_lines(report: AuditReport) -> Iterator[str]:
    """The outcome in a few lines: what was found, then what was counted."""
    if report.clean:
        yield "CLEAN  nothing was found"
    else:
        yield f"{len(report.findings):,} FINDINGS"
    for finding in report.findings[:_LINES_AT_MOST]:
        yield f"  {finding}"
    if len(report.findings) > _LINES_AT_MOST:
        yield f"  and {len(report.findings) - _LINES_AT_MOST:,} more: see reports/audit.json"
    for what, words in _checked(report):
        yield f"  {what:12} {words}"


def _checked(report: AuditReport) -> Iterator[tuple[str, str]]:
    """What was looked at, in words with its counts."""
    sums = report.sums
    merged = report.input_rows - report.rejected - report.repeated
    yield (
        "input rows",
        f"{report.input_rows:,} = {merged:,} clean + {report.rejected:,} rejected + "
        f"{report.repeated:,} repeated",
    )
    yield (
        "clean rows",
        f"{sums.clean:,} = {sums.signed:,} signed + {sums.refused:,} refused + "
        f"{sums.superseded:,} superseded + {sums.pending:,} pending",
    )
    yield (
        "credentials",
        f"{report.verified:,} of {report.credentials:,} verified and as their clean rows say, in "
        f"{report.parts:,} parts",
    )
    yield "ledger", f"{report.rows:,} rows, head {report.head}"
    yield "took", f"{report.seconds:.1f} s"


def audit_json(report: AuditReport) -> dict[str, Any]:
    """The report as JSON values."""
    sums = report.sums
    return {
        "campaign": report.campaign,
        "clean": report.clean,
        "head": report.head,
        "ledger_rows": report.rows,
        "inputs": report.inputs,
        "input_rows": report.input_rows,
        "rejected_rows": report.rejected,
        "repeated_rows": report.repeated,
        "clean_rows": sums.clean,
        "signed_rows": sums.signed,
        "refused_rows": sums.refused,
        "superseded_rows": sums.superseded,
        "pending_rows": sums.pending,
        "signed_parts": report.parts,
        "credentials": report.credentials,
        "verified": report.verified,
        "seconds": round(report.seconds, 3),
        "findings": [
            {"kind": f.kind, "where": f.where, "what": f.what, "next_step": f.next_step}
            for f in report.findings
        ],
    }


def write_audit(layout: Layout, report: AuditReport) -> list[Path]:
    """Write both files; their paths.

    Raises: InputError when they can't be written; MissingExtraError without the page's packages.
    """
    paths = [layout.reports / "audit.json", layout.reports / "audit.html"]
    text = json.dumps(audit_json(report), indent=2, ensure_ascii=False)
    write_file(paths[0], text.encode() + b"\n")
    try:
        zone = read_settings(layout.settings).time_zone.key
    except VaxpassError:
        zone = "UTC"  # an audit needs no settings
    view = AuditView(
        campaign=layout.root.resolve().name,
        generated_at=datetime.fromtimestamp(int(time.time()), UTC),
        head=report.head,
        checked=tuple(_checked(report)),
        findings=report.findings,
        counts=(
            ("clean rows", report.sums.clean),
            ("credentials", report.credentials),
            ("verified", report.verified),
            ("pending", report.sums.pending),
        ),
        time_zone=zone,
    )
    write_file(paths[1], render_audit(view).encode())
    return paths
