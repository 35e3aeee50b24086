"""``trust``: what the trust store holds, and adding to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from vaxpass_sign.check.trust.anchors import read_anchors
from vaxpass_sign.check.trust.files import find_sources, read_file
from vaxpass_sign.check.trust.keeping import MAX_AGE, MAX_SHRINK, keep_files, keep_list
from vaxpass_sign.check.trust.kept import FILES, KeptList, in_days, kept_path
from vaxpass_sign.check.trust.overview import Overview, overviews
from vaxpass_sign.cli.output import plain, print_json, print_line, tell
from vaxpass_sign.cli.stores import filled_store, user_store
from vaxpass_sign.errors import InputError, TrustError

__all__ = ["app"]

_MAX_REFUSED = 3

app = typer.Typer(help="The trust lists that verify believes.", no_args_is_help=True)


@app.command("show")
def show_command(
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of kept lists and certificate files, or one of them. Left out: the "
            "user's trust store.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Show what is trusted.

    Each source, who signed it, how old it is, and the total. Nothing is checked again.

    Exit codes: 0 all could be read, 2 a source could not.
    """
    sources, total = overviews(trust or filled_store())
    failed = False
    for source in sources:
        if isinstance(source, TrustError):
            failed = True
            tell(source)
        elif json:
            print_json(_object(source))
        else:
            _print(source)
    if json:
        print_json({"total": {"dscs": total.dscs, "anchored": total.anchored}})
    else:
        print_line(typer.style("total", bold=True))
        _print_rows([("DSCs", _dscs(total)), ("countries", _counts(total.countries))])
    return 2 if failed else 0


@app.command("add")
def add_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A signed list (the EU gateway's JSON, a DSC-TL, a DID document of WHO's GDHCN), "
            "or a file or folder of certificates.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to call it; the next one of this name takes its place. Left out: the "
            "source's name up to its first dot.",
            show_default=False,
        ),
    ] = None,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Who may sign the list: a certificate, a public key in PEM, or the DID document "
            "of the signer's keys; may be given more than once. Remembered: later lists of this "
            "name need none.",
            show_default=False,
        ),
    ] = None,
    csca: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A CSCA that must have issued the DSCs; may be given more than once. Remembered.",
            show_default=False,
        ),
    ] = None,
    document: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A document that a DID document refers to; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    max_age: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help=f"How old the list may be, and may get before verify warns. Remembered. Left out: "
            f"as before, else {MAX_AGE.days}.",
            show_default=False,
        ),
    ] = None,
    max_shrink: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The share of the DSCs so far that the new list may lack, 0 to 1; for this once. "
            f"Left out: {MAX_SHRINK}.",
            show_default=False,
        ),
    ] = MAX_SHRINK,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The trust store to add to. Left out: the user's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check a trust list and keep it.

    Or keep certificates that you believe. A list whose signature fails, that is older than allowed
    or than the one before, or that lacks too many of its DSCs is refused, and the last good one
    stays as it is.
    """
    directory = user_store() if to is None else to
    called = source.absolute().name.partition(".")[0] if name is None else name
    terms: dict[str, Any] = {
        "max_age": None if max_age is None else _age(max_age),
        "max_shrink": max_shrink,
        "cscas": csca or None,
    }
    signed = find_sources(source).signed
    if signed is None:
        if anchor or document:
            raise InputError(
                f"{source} is no signed list, so there is nothing for --anchor or --document to "
                "check: leave them out, or give the CSCA with --csca"
            )
        kept = keep_files(directory, called, source, **terms)
    else:
        anchors = _anchors(anchor) if anchor else None
        documents = [read_file(path, "a DID document") for path in document or ()]
        kept = keep_list(directory, called, signed, anchors, documents=documents, **terms)
    _print(Overview.of_kept(kept, kept.added_at))
    tell(f"wrote {kept_path(directory, called)}: {_why(kept)}")


def _anchors(paths: list[Path]) -> list[Any]:
    try:
        return list(read_anchors(paths))
    except TrustError as error:
        raise TrustError(f"--anchor: {error}") from error


def _age(days: float) -> timedelta:
    try:
        return timedelta(days=days)
    except (OverflowError, ValueError):
        raise InputError(f"--max-age: found {days}, expected a number of days") from None


def _why(kept: KeptList) -> str:
    if kept.format == FILES:
        return "these certificates are unsigned, and believed because you say so"
    if kept.issued_at is None:
        return "its signatures hold; its age can't be judged, because no time in it is signed"
    return "its signature holds"


# --- how a source looks --------------------------------------------------------------------


def _print(source: Overview) -> None:
    print_line(typer.style(plain(source.name), bold=True))
    _print_rows(_rows(source))


def _print_rows(rows: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
    for label, value in rows:
        print_line(typer.style(f"  {label:10}", dim=True) + plain(value))


def _rows(source: Overview) -> Iterator[tuple[str, str]]:
    kept = source.kept
    yield "format", source.format
    yield "DSCs", _dscs(source)
    yield "countries", _counts(source.countries)
    if kept is None:
        yield "signed by", "nobody: whoever can write this folder decides"
    else:
        yield "signed by", kept.signed_by or "nobody: added as certificate files"
        if kept.format != FILES:
            yield "issued", _day(kept.issued_at) or "not known: no time in it is signed"
        if kept.expires_at is not None:
            yield "expires", _day(kept.expires_at) or ""
        yield "added", _day(kept.added_at) or ""
        if kept.pinned_cscas:
            yield "CSCAs", f"{len(kept.pinned_cscas)} given with --csca; others count for nothing"
        elif kept.listed_cscas:
            yield "CSCAs", f"{len(kept.listed_cscas)} in the list"
        yield "age", _age_words(source, kept)
    if source.left_out:
        yield "left out", "; ".join(f"{number} {why}" for why, number in source.left_out.items())
    refused = [] if kept is None else list(kept.refused.values())
    for why in refused[:_MAX_REFUSED]:
        yield "", why
    if len(refused) > _MAX_REFUSED:
        yield "", f"and {len(refused) - _MAX_REFUSED} more: see --json"


def _age_words(source: Overview, kept: KeptList) -> str:
    since = "" if kept.issued_at else " since it was added"
    words = f"{in_days(source.age or timedelta(0))}{since}"
    if kept.max_age is None:
        return f"{words}; not judged"
    if source.stale:
        return f"{words}; OLDER THAN ALLOWED ({in_days(kept.max_age)}) or expired: add a newer one"
    return f"{words}; at most {in_days(kept.max_age)} allowed"


def _dscs(source: Overview) -> str:
    return f"{source.dscs}, of which a CSCA issued {source.anchored}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _object(source: Overview) -> dict[str, Any]:
    """A source as JSON."""
    kept = source.kept
    found: dict[str, Any] = {
        "source": source.name,
        "format": source.format,
        "dscs": source.dscs,
        "anchored": source.anchored,
        "countries": dict(source.countries),
        "left_out": dict(source.left_out),
        "stale": source.stale,
    }
    if kept is not None and source.age is not None:
        days = timedelta(days=1)
        found |= {
            "signed_by": kept.signed_by,
            "issued_at": _rfc3339(kept.issued_at),
            "expires_at": _rfc3339(kept.expires_at),
            "added_at": _rfc3339(kept.added_at),
            "age_days": round(source.age / days, 2),
            "max_age_days": None if kept.max_age is None else kept.max_age / days,
            "sha256": kept.sha256,
            "refused": {kid.hex(): why for kid, why in kept.refused.items()},
        }
    return found


def _rfc3339(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
