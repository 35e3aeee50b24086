"""Value sets: the codes that a record may hold, what they mean, and what a product brings along.

The rules that this module keeps:

* The facts are data, not code: the EU's value sets (release 2.12.0) in ``data/*.json``, each set
  with its version and date, and a table of products (manufacturer, vaccine, doses of the primary
  series) with the names that people write for them.
* The operator extends them by files of the same format, or a mapping of its shape; what a file
  holds is added or overrides, and everything is checked before anything counts.
* Where the EU allows a general and a specific vaccine code for a product, the specific one is the
  default. "Vero Cell" is Sinopharm Beijing's BBIBP-CorV, as it is in Vietnam.
* Importing reads no file; ``ValueSets.default()`` reads them once.

The format, every part but "format" optional::

    {"format": "vaxpass-sign value sets 1",
     "sets": {"vaccine-medicinal-product": {"version": "1", "date": "2026-01-31",
              "codes": {"Nanocovax": "Nanocovax", "Old": {"display": "Old", "active": false}}}},
     "products": {"Nanocovax": {"manufacturer": "Nanogen", "vaccine": "28531000087107",
                                "doses": 2, "deprecated": false}},
     "product_names": {"Nano Covax": "Nanocovax"}}

>>> sets = ValueSets.default()
>>> sets.display("vaccine-medicinal-product", "EU/1/20/1528")
'Comirnaty'
>>> product = sets.product_for_name("vero  cell")
>>> product.code, product.manufacturer, product.doses
('BBIBP-CorV', 'ORG-100020693', 2)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from unicodedata import normalize

from vaxpass_sign.errors import InputError
from vaxpass_sign.record.valueset_file import CodeSet, Product, check_document, read_document

__all__ = ["Product", "ValueSets"]


class ValueSets:
    """Value sets and products; immutable, so threads may share one.

    Methods that take a set's name know: country-2-codes, disease-agent-targeted, test-result,
    test-type, vaccine-mah-manf, vaccine-medicinal-product, vaccine-prophylaxis (the names in the
    DCC schema's valueset-uri); they raise InputError for another.
    """

    __slots__ = ("_lookup", "_names", "_products", "_sets")

    def __init__(
        self,
        sets: Mapping[str, CodeSet],
        products: Mapping[str, Product],
        names: Mapping[str, str],
    ) -> None:
        """Not for callers: begin with ``ValueSets.default()``."""
        self._sets = sets
        self._products = products
        self._names = names
        self._lookup: dict[str, str] = {}
        for product in products.values():
            if not product.deprecated:
                display = self.display("vaccine-medicinal-product", product.code)
                self._lookup |= {fold(product.code): product.code, fold(display): product.code}
        self._lookup.update(names)

    @staticmethod
    def default() -> ValueSets:
        """The value sets that the library brings along; read once, then the same object."""
        return _default()

    def extend(self, source: str | os.PathLike[str] | Mapping[str, object]) -> ValueSets:
        """New value sets: these, and what a JSON file (at most 1 MB) or a mapping adds to them.

        Raises: InputError for a file that can't be read or breaks the format, for a product whose
        codes are in no set, and for a name of no product; it says where.
        """
        if isinstance(source, Mapping):
            where, sets, products, names = "value sets", *check_document("value sets", source)
        else:
            where = f"value sets {os.fspath(source)}"
            sets, products, names = check_document(where, read_document(source))
        folded = {fold(name): code for name, code in names.items()}
        if "" in folded:
            raise InputError(f"{where}: product_names: expected a letter or digit in every name")
        extended = ValueSets(
            {**self._sets, **{n: _join(self._sets.get(n), part) for n, part in sets.items()}},
            {**self._products, **products},
            {**self._names, **folded},
        )
        extended._check_links(where)
        return extended

    def version(self, name: str) -> str:
        """The version of a set, each extension's after a plus sign."""
        return self._set(name).version

    def date(self, name: str) -> str:
        """The date of a set's latest part, YYYY-MM-DD."""
        return self._set(name).date

    def codes(self, name: str) -> tuple[str, ...]:
        """All codes of a set, inactive ones too."""
        return tuple(self._set(name).displays)

    def knows(self, name: str, code: str) -> bool:
        """Whether a set holds the code, active or not."""
        return code in self._set(name).displays

    def is_active(self, name: str, code: str) -> bool:
        """Whether a set holds the code and new credentials may use it."""
        return self.knows(name, code) and code not in self._set(name).inactive

    def display(self, name: str, code: str) -> str:
        """What to show a person for a code; the code itself when the set doesn't hold it."""
        return self._set(name).displays.get(code, code)

    def product(self, code: str) -> Product | None:
        """What the product code brings along, or None when the products table lacks it."""
        return self._products.get(code)

    def product_for_name(self, text: str) -> Product | None:
        """The product that a freely written name means, or None.

        Letters and digits count, in either case and Unicode form; spaces, hyphens and brackets
        don't. Codes and displays are names too, but for deprecated products.
        """
        code = self._lookup.get(fold(text))
        return None if code is None else self._products.get(code)

    def _set(self, name: str) -> CodeSet:
        try:
            return self._sets[name]
        except KeyError:
            known = ", ".join(sorted(self._sets))
            raise InputError(f"no such value set, expected one of {known}") from None

    def _check_links(self, where: str) -> None:
        """Every product's codes must be in the sets, and every name must mean a product."""
        for code, product in self._products.items():
            for name, linked in (
                ("vaccine-medicinal-product", code),
                ("vaccine-mah-manf", product.manufacturer),
                ("vaccine-prophylaxis", product.vaccine),
            ):
                if not self.knows(name, linked):
                    raise InputError(
                        f"{where}: products, {code!r}: {linked!r} is not in {name}, expected it "
                        "there; add it to the sets"
                    )
        for code in self._names.values():
            if code not in self._products:
                raise InputError(
                    f"{where}: product_names: {code!r} is not in the products table, expected it "
                    "there; add it to the products"
                )


def fold(text: str) -> str:
    """A product's name as it is compared: NFC, lower case, letters and digits alone."""
    return "".join([letter for letter in normalize("NFC", text.casefold()) if letter.isalnum()])


def _join(old: CodeSet | None, new: CodeSet) -> CodeSet:
    if old is None:
        return new
    return CodeSet(
        version=f"{old.version} + {new.version}",
        date=max(old.date, new.date),
        displays={**old.displays, **new.displays},
        inactive=(old.inactive - new.displays.keys()) | new.inactive,
    )


@cache
def _default() -> ValueSets:
    from pathlib import Path

    sets = ValueSets({}, {}, {})
    for name in ("countries.json", "covid19.json", "products.json"):
        sets = sets.extend(Path(__file__).with_name("data") / name)
    return sets
