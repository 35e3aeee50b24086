"""VaccinationRecord: what one credential says of one person's dose; valid once it is built.

The rules that this module keeps:

* A record that breaks a rule is never built: RecordError lists every violation at once, each with
  the field, what was found and what was expected. Names, dates and numbers are described by their
  shape and never repeated, so a violation may be logged; codes may be shown.
* What a record leaves out is filled in: fnt and gnt by ``names.transliterate``, vaccine and
  manufacturer from the product. The country and the issuer's name may stay "", for the issuer's.
* A mononym is a surname: a given_name alone, with its gnt, goes to surname and fnt, so that readers
  of schema 1.3.0, which asks for fnt, can read it.
* Lengths and patterns are those of DCC schema 1.3.0; codes are those of the value sets.
* ``repr`` shows the product and the doses, and nothing of the person.

>>> record = VaccinationRecord(
...     surname="Nguyễn", given_name="Thị Minh Khai", birth_date="1987-04-12",
...     product="EU/1/20/1528", dose_number=2, dose_total=2, vaccination_date="2021-11-20",
... )
>>> record
VaccinationRecord(product='EU/1/20/1528', dose_number=2, dose_total=2, …)
>>> record.fnt, record.gnt, record.vaccine, record.manufacturer
('NGUYEN', 'THI<MINH<KHAI', '1119349007', 'ORG-100030215')
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from vaxpass_sign.errors import RecordError, Violation
from vaxpass_sign.record import fields
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["VaccinationRecord"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VaccinationRecord:
    """One dose of one person; the fields are named as the dose table's columns.

    All texts are str, NFC and without spaces at their ends. Threads may share a record.

    ``dataclasses.replace`` builds and checks anew; as fnt, gnt, vaccine and manufacturer are
    always filled, give them along (or as "") when the name or the product changes, and give
    ``value_sets`` again when they were extended.

    Raises: RecordError, and nothing else, whatever the values are.
    """

    surname: str = ""
    """fn, at most 80 characters; the whole name of a person with one name."""
    given_name: str = ""
    """gn, at most 80 characters, or ""."""
    birth_date: str
    """dob: YYYY-MM-DD, YYYY-MM, YYYY or "" when unknown; 1900 to 2099. A datetime.date is taken
    too, and kept as its ISO text."""
    product: str
    """mp: a code of vaccine-medicinal-product."""
    dose_number: int
    """dn, 1 to 9; may exceed dose_total: the EU writes a booster as 3/3, or 2/1 after one dose."""
    dose_total: int
    """sd, 1 to 9."""
    vaccination_date: str
    """dt: YYYY-MM-DD, 1900 to 2099, not before birth_date. A datetime.date is taken too."""
    vaccine: str = ""
    """vp: a code of vaccine-prophylaxis; "" for the product's."""
    manufacturer: str = ""
    """ma: a code of vaccine-mah-manf; "" for the product's."""
    disease: str = "840539006"
    """tg: a code of disease-agent-targeted."""
    country: str = ""
    """co: where the dose was given, ISO 3166-1 alpha-2; "" for the issuer's."""
    issuer: str = ""
    """is, at most 80 characters; "" for the issuer's name."""
    fnt: str = ""
    """The surname in A–Z and <, at most 80; "" to transliterate it."""
    gnt: str = ""
    """The given name in A–Z and <, at most 80; "" to transliterate it."""
    value_sets: InitVar[ValueSets | None] = None
    """What codes are checked against, when it isn't ``ValueSets.default()``."""

    def __post_init__(self, value_sets: ValueSets | None) -> None:
        faults: list[Violation] = []
        if value_sets is None:
            sets = ValueSets.default()
        elif isinstance(value_sets, ValueSets):
            sets = value_sets
        else:
            found = fields.describe_type(value_sets)
            raise RecordError([Violation("value_sets", found, "ValueSets or None")])

        surname, given_name, fnt, gnt = fields.check_names(
            self.surname, self.given_name, self.fnt, self.gnt, faults
        )
        birth_date = fields.check_birth_date(self.birth_date, faults)
        vaccination_date = fields.check_day("vaccination_date", self.vaccination_date, faults)
        if vaccination_date and vaccination_date[: len(birth_date)] < birth_date:
            expected = "birth_date or a later day; mend whichever is wrong"
            faults.append(Violation("vaccination_date", "a date before birth_date", expected))
        product, vaccine, manufacturer = fields.check_product(
            self.product, self.vaccine, self.manufacturer, sets, faults
        )
        disease = fields.check_code("disease", self.disease, sets, faults)
        country = ""
        if not fields.is_empty(self.country):
            country = fields.check_code("country", self.country, sets, faults)
        issuer = fields.check_text("issuer", self.issuer, faults)
        dose_number = fields.check_dose("dose_number", self.dose_number, faults)
        dose_total = fields.check_dose("dose_total", self.dose_total, faults)
        if faults:
            raise RecordError(faults)

        keep = object.__setattr__
        keep(self, "surname", surname)
        keep(self, "given_name", given_name)
        keep(self, "fnt", fnt)
        keep(self, "gnt", gnt)
        keep(self, "birth_date", birth_date)
        keep(self, "vaccination_date", vaccination_date)
        keep(self, "product", product)
        keep(self, "vaccine", vaccine)
        keep(self, "manufacturer", manufacturer)
        keep(self, "disease", disease)
        keep(self, "country", country)
        keep(self, "issuer", issuer)
        keep(self, "dose_number", dose_number)
        keep(self, "dose_total", dose_total)

    def __repr__(self) -> str:
        return (
            f"VaccinationRecord(product={self.product!r}, dose_number={self.dose_number}, "
            f"dose_total={self.dose_total}, …)"
        )
