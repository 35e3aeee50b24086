"""How a credential and a Verdict look: a few coloured lines for a person, one object for --json.

A person's name and entries are printed because the user asked for them, on stdout alone.
"""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import typer

from vaxpass_sign.check.schema import entry_kinds
from vaxpass_sign.check.sentences import sentence
from vaxpass_sign.check.verdict import NotChecked, Verdict
from vaxpass_sign.cli.output import plain
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.record.valuesets import ValueSets

__all__ = [
    "hcert_lines",
    "hcert_object",
    "headline",
    "verdict_lines",
    "verdict_object",
]

Row = tuple[str, str]
"""A label and what stands beside it."""

_MAX_VALUE = 200
_LABEL_WIDTH = 14
_MAX_WIDTH = 100

_NOT_CHECKED = {
    NotChecked.HOLDER: "who bears it",
    NotChecked.REVOCATION: "revocation",
    NotChecked.RULES: "entry rules",
    NotChecked.CSCA: "the DSC's CSCA (give --anchor)",
    NotChecked.VALIDITY: "validity in time (the policy)",
    NotChecked.WITHIN_DSC: "its times against the DSC's (the policy)",
    NotChecked.KEY_USAGE: "what the DSC may sign (the policy)",
    NotChecked.SCHEMA: "the schema (the policy)",
}


# --- for a person --------------------------------------------------------------------------


def headline(word: str, colour: str, place: str) -> str:
    """The first line of what is said of one payload."""
    return typer.style(word, fg=colour, bold=True) + "  " + typer.style(plain(place), dim=True)


def verdict_lines(verdict: Verdict, place: str, language: str) -> Iterator[str]:
    """The verdict, whose it is, what it says, why it is or isn't valid, and what to do."""
    advice = "advice", sentence(verdict.reason, language)
    if verdict.valid:
        yield headline("VALID", "green", place)
    else:
        yield headline("NOT VALID", "red", place)
        because = "because", f"{plain(verdict.detail)} [{verdict.reason}]"
        yield from _lines([because, advice])
    if verdict.hcert is not None:
        if not verdict.valid:
            yield typer.style("  Do not believe what it says:", fg="red")
        yield from _lines(_hcert_rows(verdict.hcert))
    if verdict.valid and verdict.dsc is not None:
        unchecked = ", ".join(_NOT_CHECKED[item] for item in verdict.not_checked)
        yield from _lines(
            [
                ("signed by", f"{plain(verdict.dsc.subject)}, kid {verdict.dsc.kid.hex()}"),
                ("not checked", unchecked),
                advice,
            ]
        )
    yield from _lines(("note", plain(warning)) for warning in verdict.warnings)


def hcert_lines(hcert: Hcert, place: str) -> Iterator[str]:
    """Whose it is and what it says, and that nothing of it was checked."""
    yield headline("NOT CHECKED", "yellow", place)
    yield "  Anybody could have written this; verify says whether to believe it."
    yield from _lines(_hcert_rows(hcert))
    kid, alg = hcert.kid, _alg(hcert)
    yield from _lines([("header", f"kid {'?' if kid is None else kid.hex()}, alg {_text(alg)}")])


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    """Rows as lines; on a terminal long ones go on below where they began."""
    width = _MAX_WIDTH * _MAX_VALUE
    if sys.stdout is not None and sys.stdout.isatty():
        width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    indent = " " * (_LABEL_WIDTH + 2)
    for label, value in rows:
        head = f"  {label:{_LABEL_WIDTH}}"
        wrapped = textwrap.wrap(
            value,
            max(width, 3 * _LABEL_WIDTH),
            initial_indent=head,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        for number, line in enumerate(wrapped or [head]):
            if number == 0:
                yield typer.style(head, dim=True) + line[len(head) :]
            else:
                yield line


def _hcert_rows(hcert: Hcert) -> Iterator[Row]:
    dcc = hcert.payload
    issuers = [hcert.issuer]
    if dcc is None:
        yield "no EU DCC", "its claims are " + ", ".join(_text(claim) for claim in hcert.claims)
    else:
        name = dcc.get("nam")
        yield "name", _person(name if isinstance(name, dict) else {})
        yield "born", _text(dcc.get("dob"))
        for kind in entry_kinds(dcc):
            for entry in dcc[kind] if isinstance(dcc[kind], list) else []:
                if isinstance(entry, dict):
                    yield from _ENTRY_ROWS[kind](entry)
                    yield "UVCI", _text(entry.get("ci"))
                    issuers.insert(0, entry.get("is"))
    yield "issuer", ", ".join(_text(issuer) for issuer in issuers if issuer)
    yield "valid", f"{_time(hcert.issued_at)} to {_time(hcert.expires_at)}"


def _person(name: dict[str, Any]) -> str:
    shown = [_text(name[key]) for key in ("fn", "gn") if name.get(key)]
    standard = "<<".join(_text(name[key]) for key in ("fnt", "gnt") if name.get(key))
    return f"{' '.join(shown)} ({standard})" if shown else standard or "?"


def _vaccination(entry: dict[str, Any]) -> Iterator[Row]:
    doses = f"dose {_text(entry.get('dn'))} of {_text(entry.get('sd'))}"
    yield "vaccinated", f"{_text(entry.get('dt'))} in {_country(entry)}, {doses}"
    yield "against", _display(entry, "tg", "disease-agent-targeted")
    product = _display(entry, "mp", "vaccine-medicinal-product")
    yield "vaccine", f"{product} ({_display(entry, 'vp', 'vaccine-prophylaxis')})"
    yield "made by", _display(entry, "ma", "vaccine-mah-manf")


def _test(entry: dict[str, Any]) -> Iterator[Row]:
    yield "tested", f"{_text(entry.get('sc'))} in {_country(entry)}"
    yield "for", _display(entry, "tg", "disease-agent-targeted")
    yield "test", _display(entry, "tt", "test-type")
    yield "result", _display(entry, "tr", "test-result")


def _recovery(entry: dict[str, Any]) -> Iterator[Row]:
    yield "recovered", f"first positive {_text(entry.get('fr'))} in {_country(entry)}"
    yield "from", _display(entry, "tg", "disease-agent-targeted")
    yield "proves it", f"{_text(entry.get('df'))} to {_text(entry.get('du'))}"


_ENTRY_ROWS = {"v": _vaccination, "t": _test, "r": _recovery}


def _country(entry: dict[str, Any]) -> str:
    return _display(entry, "co", "country-2-codes")


def _display(entry: dict[str, Any], field: str, value_set: str) -> str:
    code = entry.get(field)
    return _text(ValueSets.default().display(value_set, code) if isinstance(code, str) else code)


def _alg(hcert: Hcert) -> str | int | None:
    return hcert.alg.name if isinstance(hcert.alg, Alg) else hcert.alg


def _text(value: Any) -> str:
    return "?" if value is None or value == "" else plain(str(value), _MAX_VALUE)


def _time(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# --- for a program -------------------------------------------------------------------------


def verdict_object(verdict: Verdict, language: str) -> dict[str, Any]:
    """A Verdict as JSON: valid, reason, step, advice, detail, at, hcert, dsc, policy, not_checked,
    warnings.
    """
    dsc = verdict.dsc
    return {
        "valid": verdict.valid,
        "reason": verdict.reason.value,
        "step": verdict.step.name.lower(),
        "advice": sentence(verdict.reason, language),
        "detail": verdict.detail,
        "at": _rfc3339(verdict.at),
        "hcert": None if verdict.hcert is None else hcert_object(verdict.hcert),
        "dsc": None
        if dsc is None
        else {
            "kid": dsc.kid.hex(),
            "subject": dsc.subject,
            "issuer": dsc.issuer,
            "not_before": _rfc3339(dsc.not_before),
            "not_after": _rfc3339(dsc.not_after),
        },
        "policy": verdict.policy,
        "not_checked": [item.value for item in verdict.not_checked],
        "warnings": list(verdict.warnings),
    }


def hcert_object(hcert: Hcert) -> dict[str, Any]:
    """A decoded HCERT as JSON: kid (hex), alg, issuer, times (RFC 3339), payload."""
    return {
        "kid": None if hcert.kid is None else hcert.kid.hex(),
        "alg": _alg(hcert),
        "issuer": hcert.issuer,
        "issued_at": _rfc3339(hcert.issued_at),
        "expires_at": _rfc3339(hcert.expires_at),
        "payload": _json_value(hcert.payload if hcert.payload is not None else hcert.claims),
    }


def _rfc3339(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _json_value(value: Any) -> Any:
    """What CBOR gave, as JSON can hold it: keys as text, bytes as hex, NaN as text."""
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
