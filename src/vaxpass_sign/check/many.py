"""Many texts at once: for each the Verdict that :func:`verify` gives, in less time.

A block of texts goes through the steps together, and what recurs in it (a DSC, a time, a code) is
judged once. Only what passes every step this way is settled by it. Any other text, for whatever
reason, is given to :func:`verify`, so that every Verdict that says no, and every unusual one that
says yes, is that function's own.

Each step is the one of :mod:`vaxpass_sign.check.verify`, or its outcome for the same facts:

* 1 to 3 by :func:`base45.decode_many` and :func:`framing.inflate`; 4 by :func:`cose.parse` and
  :func:`plain.read_plain`;
* 5 and 6 depend on kid, alg and policy alone, 8 and 9 on iat, exp and DSC too (the moment is one,
  and all entries here are vaccinations): they are asked once for each of these;
* 7 for each text, by :func:`signature.verify_signatures`, which verifies single ones too;
* 10 by the same checks, once for each distinct value;
* 11 by the same function, for each text.

>>> BatchVerifier(TrustStore([])).verify(["HC2:"])
[Verdict('not_hc1', at='...')]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from vaxpass_sign.check.plain import Plain, keep_schema, read_plain
from vaxpass_sign.check.policy import EU, Demand, Policy
from vaxpass_sign.check.revocation.known import Revocations
from vaxpass_sign.check.steps import (
    StepFailedError,
    as_demanded,
    check_key_usage,
    find_dscs,
    fitting,
    is_revocation_known,
    judge_revocation,
    judge_validity,
    not_checked,
    valid_detail,
)
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.check.verdict import NotChecked, Reason, Verdict
from vaxpass_sign.check.verify import moment, verify
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import base45, cose, framing
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.hcert.cose import Sign1
from vaxpass_sign.hcert.signature import verify_signatures
from vaxpass_sign.x509 import Certificate

__all__ = ["BLOCK", "BatchVerifier", "Outcome", "verify_texts"]

BLOCK: Final = 2000
"""Texts that go through the steps together."""

_MAX_KNOWN = 1024
"""DSCs, and times for each, that are remembered; hostile texts could name any number."""


def verify_texts(
    texts: Sequence[str],
    trust: TrustStore,
    at: datetime | None = None,
    policy: Policy = EU,
    revocations: Revocations | None = None,
) -> list[Verdict]:
    """The Verdict of each text, as :func:`verify` gives it for one moment.

    Raises: as :func:`verify` does; nothing on account of a text.
    """
    return BatchVerifier(trust, at, policy, revocations).verify(texts)


class Outcome(NamedTuple):
    """What a Verdict says, without the credential: a row of a table of many."""

    reason: Reason
    detail: str
    warnings: tuple[str, ...]
    kid: bytes | None
    """The header's; None when it has none or could not be decoded."""


class _Judged(NamedTuple):
    """What a valid Verdict says of the DSC and the times, and its warnings of them."""

    detail: str
    warnings: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]


@dataclass(slots=True)
class _Signer:
    """The DSC that fits a kid and an alg, and what is known of it."""

    dsc: Certificate
    judged: dict[bytes, _Judged | None] = field(default_factory=dict)
    """The beginning of a payload (iss, exp, iat) → what a valid Verdict says; None: it is not."""


_Row = tuple[int, Sign1, Plain]
"""The place of a text that has passed steps 1 to 4 in the plain form, and what it holds."""
_SignedRow = tuple[int, Sign1, Plain, _Judged]
"""The same, and what its Verdict says when the signature holds."""
_Held = tuple[Sign1, Plain, _Judged, Certificate]
"""What the valid Verdict of a plain text is made of; the DSC that signed it comes last."""


class BatchVerifier:
    """Verifies many texts against one trust store for one moment: now, when ``at`` is left out.

    It remembers DSCs and times from one call to the next, a bounded number. One thread at a time;
    make one in each process. Works without the extra ``batch`` too, a little slower.

    Raises: InputError when ``at`` has no UTC offset.
    """

    def __init__(
        self,
        trust: TrustStore,
        at: datetime | None = None,
        policy: Policy = EU,
        revocations: Revocations | None = None,
    ) -> None:
        self._trust = trust
        self._at = moment(at)
        self._policy = policy
        self._revocations = revocations
        self._is_known = is_revocation_known(revocations, self._at)
        self._signers: dict[tuple[bytes | None, int | None], _Signer | None] = {}

    def verify(self, texts: Sequence[str]) -> list[Verdict]:
        """The Verdict of each text, in order."""
        return [
            settled if isinstance(settled, Verdict) else self._verdict(*settled)
            for settled in self._settle(texts)
        ]

    def read(self, texts: Sequence[str]) -> list[Plain | Verdict]:
        """What each valid text of the plain form says, and the Verdict of any other text.

        For who wants to know what valid texts say and needs no Verdict of each: 4 µs less for each.
        """
        return [
            settled if isinstance(settled, Verdict) else settled[1]
            for settled in self._settle(texts)
        ]

    def outcomes(self, texts: Sequence[str]) -> list[Outcome]:
        """The outcome of each text, in order; for who needs no claims: 4 µs less for each."""
        found = []
        for settled in self._settle(texts):
            if isinstance(settled, Verdict):
                kid = None if settled.hcert is None else settled.hcert.kid
                found.append(Outcome(settled.reason, settled.detail, settled.warnings, kid))
            else:
                _, plain, judged, dsc = settled
                warnings = self._warnings(judged, plain)
                found.append(Outcome(Reason.VALID, judged.detail, warnings, dsc.kid))
        return found

    def _verdict(self, sign1: Sign1, plain: Plain, judged: _Judged, dsc: Certificate) -> Verdict:
        return Verdict(
            Reason.VALID,
            judged.detail,
            self._at,
            Hcert(sign1, plain.claims()),
            dsc,
            judged.not_checked,
            self._warnings(judged, plain),
            self._policy.name,
        )

    def _warnings(self, judged: _Judged, plain: Plain) -> tuple[str, ...]:
        if self._policy.schema is Demand.OFF:
            return judged.warnings
        return judged.warnings + plain.warnings

    def _settle(self, texts: Sequence[str]) -> Iterator[_Held | Verdict]:
        """What a valid Verdict is made of, or the Verdict that :func:`verify` gives."""
        for start in range(0, len(texts), BLOCK):
            yield from self._settle_block(texts[start : start + BLOCK])

    def _settle_block(self, texts: Sequence[str]) -> Iterator[_Held | Verdict]:
        settled: list[_Held | None] = [None] * len(texts)
        rows = _that_keep_schema(_read(texts))  # Steps 1 to 4, and 10.
        for signer, signed in self._by_signer(rows):  # Steps 5, 6, 8 and 9.
            held = verify_signatures(  # Step 7.
                signer.dsc.public_key,
                [sign1.sig_structure for _, sign1, _, _ in signed],
                [sign1.signature for _, sign1, _, _ in signed],
            )
            for (place, sign1, plain, judged), holds in zip(signed, held, strict=True):
                if holds and self._stands(sign1, plain, signer.dsc):
                    settled[place] = sign1, plain, judged, signer.dsc
        for text, held_text in zip(texts, settled, strict=True):
            yield held_text or verify(text, self._trust, self._at, self._policy, self._revocations)

    def _stands(self, sign1: Sign1, plain: Plain, dsc: Certificate) -> bool:
        """Step 11."""
        if self._revocations is None and self._policy.revocation is not Demand.REQUIRED:
            return True
        hcert = Hcert(sign1, plain.claims())
        try:
            judge_revocation(hcert, dsc, self._trust, self._at, self._revocations, self._policy)
        except StepFailedError:
            return False
        return True

    def _by_signer(self, rows: list[_Row]) -> Iterable[tuple[_Signer, list[_SignedRow]]]:
        """The rows that pass steps 5, 6, 8 and 9, by the DSC that must have signed them."""
        signers = self._signers
        found: dict[int, tuple[_Signer, list[_SignedRow]]] = {}
        for place, sign1, plain in rows:
            try:
                signer = signers[sign1.kid, sign1.alg]
            except KeyError:
                signer = self._meet(sign1, plain)
            if signer is None:
                continue
            try:
                judged = signer.judged[plain.head]
            except KeyError:
                judged = self._judge(signer, sign1, plain)
            if judged is not None:
                if id(signer) not in found:
                    found[id(signer)] = signer, []
                found[id(signer)][1].append((place, sign1, plain, judged))
        return found.values()

    def _meet(self, sign1: Sign1, plain: Plain) -> _Signer | None:
        """Steps 5 and 6 for a kid and an alg: the first DSC that fits, or None.

        What another DSC of this kid signed is no good signature here, so it gets its second look.
        """
        signer, alg = None, Hcert(sign1, plain.registered).alg
        try:
            dscs = find_dscs(sign1.kid, self._trust)
            signer = _Signer(fitting(alg, dscs, self._trust, self._policy)[0])
        except StepFailedError:
            pass
        if len(self._signers) >= _MAX_KNOWN:
            self._signers.clear()
        self._signers[sign1.kid, sign1.alg] = signer
        return signer

    def _judge(self, signer: _Signer, sign1: Sign1, plain: Plain) -> _Judged | None:
        """Steps 8 and 9 for an iat and an exp; None for what is not valid."""
        judged, dsc, policy = None, signer.dsc, self._policy
        hcert = Hcert(sign1, plain.claims())
        try:
            warnings = judge_validity(hcert, dsc, self._at, policy)
            warnings += as_demanded(policy.key_usage, check_key_usage, hcert, dsc)
            judged = _Judged(
                valid_detail(hcert, dsc, self._at, policy),
                warnings,
                not_checked(self._trust, dsc, policy, self._is_known),
            )
        except StepFailedError:
            pass
        if len(signer.judged) >= _MAX_KNOWN:
            signer.judged.clear()
        signer.judged[plain.head] = judged
        return judged


def _read(texts: Sequence[str]) -> list[_Row]:
    """The texts that pass steps 1 to 4 and are plain."""
    places = [place for place, text in enumerate(texts) if framing.is_hc1(text)]
    start = len(framing.PREFIX)
    streams = base45.decode_many([texts[place][start:] for place in places])
    rows = []
    for place, stream in zip(places, streams, strict=True):
        if stream is None:
            continue
        try:
            sign1 = cose.parse(framing.inflate(stream))
        except HcertError:
            continue
        plain = read_plain(sign1.payload)
        if plain:
            rows.append((place, sign1, plain))
    return rows


def _that_keep_schema(rows: list[_Row]) -> list[_Row]:
    """The rows that keep the schema; all together, or one at a time when any of them does not."""
    if keep_schema([plain.values for _, _, plain in rows]):
        return rows
    return [row for row in rows if keep_schema([row[2].values])]
