"""What is certified: the record, names, UVCIs and value sets. Pure: no clock, no files but the
package's own data.

The names are fetched from their modules when first used, so that importing this package, or one of
its modules, loads no more than is asked for.

>>> from vaxpass_sign.record import transliterate
>>> transliterate("Đặng Thị Hòa")
'DANG<THI<HOA'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaxpass_sign.record.model import VaccinationRecord
    from vaxpass_sign.record.names import normalise_name, transliterate
    from vaxpass_sign.record.uvci import (
        check_character,
        check_uvci,
        derive_uvci,
        person_key,
        random_uvci,
        row_key,
    )
    from vaxpass_sign.record.valuesets import Product, ValueSets

__all__ = [
    "Product",
    "VaccinationRecord",
    "ValueSets",
    "check_character",
    "check_uvci",
    "derive_uvci",
    "normalise_name",
    "person_key",
    "random_uvci",
    "row_key",
    "transliterate",
]

_HOMES = {
    "Product": "valuesets",
    "VaccinationRecord": "model",
    "ValueSets": "valuesets",
    "normalise_name": "names",
    "transliterate": "names",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES.get(name, 'uvci')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
