"""The codes of an entry that its value sets do not know: warnings, never faults.

Value sets grow, and a reader may be older than the issuer.

>>> code_warnings("r", "840539006", "XZ")
('r.co: the value set country-2-codes does not know this code',)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from vaxpass_sign.check.schema import entry_kinds
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["CODE_SETS", "code_warnings", "unknown_codes"]

CODE_SETS = {
    "v": {
        "tg": "disease-agent-targeted",
        "vp": "vaccine-prophylaxis",
        "mp": "vaccine-medicinal-product",
        "ma": "vaccine-mah-manf",
        "co": "country-2-codes",
    },
    "t": {
        "tg": "disease-agent-targeted",
        "tt": "test-type",
        "tr": "test-result",
        "co": "country-2-codes",
    },
    "r": {"tg": "disease-agent-targeted", "co": "country-2-codes"},
}


def unknown_codes(dcc: dict[str, Any]) -> tuple[str, ...]:
    """A warning for each code of a DCC (that keeps the schema) that its value set lacks."""
    (kind,) = entry_kinds(dcc)
    entry = dcc[kind][0]
    return code_warnings(kind, *[entry[field] for field in CODE_SETS[kind]])


# Few combinations of codes are in use, so the sets are searched once for each.
@lru_cache(maxsize=4096)
def code_warnings(kind: str, *codes: str) -> tuple[str, ...]:
    """The warnings of an entry's codes, in the order of ``CODE_SETS``."""
    value_sets = ValueSets.default()
    return tuple(
        f"{kind}.{field}: the value set {value_set} does not know this code"
        for (field, value_set), code in zip(CODE_SETS[kind].items(), codes, strict=True)
        if not value_sets.knows(value_set, code)
    )
