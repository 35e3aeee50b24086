"""How a credential and a Verdict look: a few coloured lines for a person, one object for --json.

A person's name and entries are printed because the user asked for them, on stdout alone. Text
from a credential never reaches the terminal raw: control characters are replaced, so that no
payload can move the cursor or forge a line.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import typer

from vaxpass_sign.check.schema import entry_kinds
from vaxpass_sign.check.verdict import NOT_CHECKED_TEXT, Verdict
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["hcert_lines", "hcert_object", "print_json", "verdict_lines", "verdict_object"]

_KIND_NAMES = {"v": "vaccination", "t": "test", "r": "recovery"}


# --- for a person --------------------------------------------------------------------------


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Whose it is, what it says, and why it is or isn't valid."""
    if verdict.valid:
        yield typer.style("VALID", fg="green", bold=True) + f"  {_plain(verdict.detail)}"
    else:
        head = typer.style("NOT VALID", fg="red", bold=True)
        yield f"{head}  {_plain(verdict.detail)} [{verdict.reason}]"
    if verdict.hcert is not None:
        if not verdict.valid:
            yield typer.style("  what it says is not to be believed:", fg="red")
        yield from hcert_lines(verdict.hcert)
    if verdict.valid:
        for item in verdict.not_checked:
            yield typer.style(f"  not checked: {NOT_CHECKED_TEXT[item]}", dim=True)
    for warning in verdict.warnings:
        yield typer.style(f"  note: {_plain(warning)}", fg="yellow")


def hcert_lines(hcert: Hcert) -> Iterator[str]:
    """Whose it is and what it says."""
    dcc = hcert.payload
    if dcc is None:
        yield "  no EU DCC inside; its claims: " + ", ".join(_plain(str(c)) for c in hcert.claims)
    else:
        name = dcc.get("nam")
        name = name if isinstance(name, dict) else {}
        yield "  " + typer.style(_person(name), bold=True) + f", born {_value(dcc.get('dob'))}"
        for kind in entry_kinds(dcc):
            for entry in dcc[kind] if isinstance(dcc[kind], list) else []:
                if isinstance(entry, dict):
                    yield from _entry_lines(kind, entry)
    yield (
        f"  issued by {_value(hcert.issuer)} at {_time(hcert.issued_at)}, "
        f"expires {_time(hcert.expires_at)}"
    )


def _person(name: dict[str, Any]) -> str:
    shown = [_plain(str(name[key])) for key in ("fn", "gn") if name.get(key)]
    standard = [_plain(str(name[key])) for key in ("fnt", "gnt") if name.get(key)]
    return f"{' '.join(shown)} ({'<<'.join(standard)})" if shown else "<<".join(standard) or "?"


def _entry_lines(kind: str, entry: dict[str, Any]) -> Iterator[str]:
    show = ValueSets.default().display

    def code(field: str, value_set: str) -> str:
        value = entry.get(field)
        known = show(value_set, value) if isinstance(value, str) else None
        return _value(known or value)

    if kind == "v":
        yield (
            f"  {_KIND_NAMES[kind]} {_value(entry.get('dn'))}/{_value(entry.get('sd'))} on "
            f"{_value(entry.get('dt'))}: {code('mp', 'vaccine-medicinal-product')} "
            f"({code('vp', 'vaccine-prophylaxis')}; {code('ma', 'vaccine-mah-manf')})"
        )
    elif kind == "t":
        yield (
            f"  {_KIND_NAMES[kind]} on {_value(entry.get('sc'))}: {code('tt', 'test-type')}, "
            f"{code('tr', 'test-result')}"
        )
    else:
        yield (
            f"  {_KIND_NAMES[kind]}: first positive {_value(entry.get('fr'))}, valid "
            f"{_value(entry.get('df'))} to {_value(entry.get('du'))}"
        )
    yield (
        f"  against {code('tg', 'disease-agent-targeted')}, in {code('co', 'country-2-codes')}, by "
        f"{_value(entry.get('is'))}, {_value(entry.get('ci'))}"
    )


def _value(value: Any) -> str:
    return "?" if value is None or value == "" else _plain(str(value))


def _plain(text: str) -> str:
    """The text without what could steer a terminal, at most 200 characters."""
    safe = "".join(c if unicodedata.category(c)[0] != "C" else "�" for c in text[:200])
    return safe + ("…" if len(text) > 200 else "")


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "?"
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- for a program -------------------------------------------------------------------------


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """A Verdict as JSON: valid, reason, step, detail, at, hcert, dsc, not_checked, warnings."""
    dsc = verdict.dsc
    return {
        "valid": verdict.valid,
        "reason": verdict.reason.value,
        "step": verdict.step.name.lower(),
        "detail": verdict.detail,
        "at": _time(verdict.at),
        "hcert": None if verdict.hcert is None else hcert_object(verdict.hcert),
        "dsc": None
        if dsc is None
        else {
            "kid": dsc.kid.hex(),
            "subject": dsc.subject,
            "issuer": dsc.issuer,
            "not_before": _time(dsc.not_before),
            "not_after": _time(dsc.not_after),
        },
        "not_checked": [item.value for item in verdict.not_checked],
        "warnings": list(verdict.warnings),
    }


def hcert_object(hcert: Hcert) -> dict[str, Any]:
    """A decoded HCERT as JSON: kid (hex), alg, issuer, times (RFC 3339), payload."""
    alg = hcert.alg
    return {
        "kid": None if hcert.kid is None else hcert.kid.hex(),
        "alg": alg.name if isinstance(alg, Alg) else alg,
        "issuer": hcert.issuer,
        "issued_at": None if hcert.issued_at is None else _time(hcert.issued_at),
        "expires_at": None if hcert.expires_at is None else _time(hcert.expires_at),
        "payload": json_value(hcert.payload if hcert.payload is not None else hcert.claims),
    }


def json_value(value: Any) -> Any:
    """What CBOR gave, as JSON can hold it: keys as text, bytes as hex, NaN as text."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def print_json(value: dict[str, Any]) -> None:
    """One object on one line of stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
