"""Value sets: what comes along, how the operator extends it, what a file may not hold."""

import contextlib
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import InputError
from vaxpass_sign.record.valueset_file import FORMAT, SETS
from vaxpass_sign.record.valuesets import Product, ValueSets

DEFAULT = ValueSets.default()
NANO = {
    "format": FORMAT,
    "sets": {
        "vaccine-medicinal-product": {
            "version": "VN 1",
            "date": "2026-01-31",
            "codes": {"Nanocovax": "Nanocovax", "CVnCoV": {"display": "CVnCoV", "active": False}},
        },
        "vaccine-mah-manf": {
            "version": "VN 1",
            "date": "2020-01-31",
            "codes": {"Nanogen": "Nanogen Pharmaceutical Biotechnology"},
        },
    },
    "products": {"Nanocovax": {"manufacturer": "Nanogen", "vaccine": "28531000087107", "doses": 2}},
    "product_names": {"Nano Covax (VN)": "Nanocovax", "Sinopharm": "WIBP-CorV"},
}


def published(name: str) -> dict:
    path = Path(__file__).parents[3] / "shared" / "valuesets" / f"{name}.json"
    if not path.exists() and "CI" not in os.environ:
        pytest.skip(f"no published value set at {path}")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SETS)
def test_published_sets(name: str) -> None:
    """Codes, displays, active flags and dates are those that the EU published."""
    source = published(name)
    values = source["valueSetValues"]
    assert DEFAULT.date(name) == source["valueSetDate"]
    assert DEFAULT.version(name) == "2.12.0"
    assert set(DEFAULT.codes(name)) == values.keys()
    for code, value in values.items():
        assert DEFAULT.display(name, code) == value["display"]
        assert DEFAULT.is_active(name, code) is value["active"]


def test_published_products() -> None:
    """Each product's manufacturer and vaccine are those of the EU's encoding instructions."""
    for entry in published("vaccine-encoding-instructions")["valueSetValues"].values():
        product = DEFAULT.product(entry["vaccine-code"].removesuffix(" (deprecated)"))
        assert product is not None
        assert product.manufacturer == entry["vaccine-manufacturer"]
        assert product.vaccine in entry["sct-codes"]
        assert product.deprecated is ("Do not use this code" in entry.get("note", ""))
        if product.vaccine == "28531000087107":
            assert entry["sct-codes"] == ["28531000087107"]


def test_every_product_is_in_the_table() -> None:
    """The products table has a row for each product code of the value set."""
    for code in DEFAULT.codes("vaccine-medicinal-product"):
        assert isinstance(DEFAULT.product(code), Product)


@pytest.mark.parametrize(
    ("code", "doses"),
    [
        ("EU/1/20/1528", 2),
        ("EU/1/20/1525", 1),
        ("Sputnik-Light", 1),
        ("Convidecia", 1),
        ("Abdala", 3),
    ],
)
def test_doses(code: str, doses: int) -> None:
    """A product brings the number of doses of its primary series."""
    product = DEFAULT.product(code)
    assert product is not None
    assert product.doses == doses


WRITTEN_NAMES = {
    "AstraZeneca": "EU/1/21/1529",
    "ASTRA ZENECA": "EU/1/21/1529",
    "astra-zeneca": "EU/1/21/1529",
    "COVID-19 Vaccine AstraZeneca": "EU/1/21/1529",
    "Vaxzevria": "EU/1/21/1529",
    "Pfizer": "EU/1/20/1528",
    "Pfizer - BioNTech": "EU/1/20/1528",
    "Comirnaty": "EU/1/20/1528",
    "Comirnaty (Pfizer-BioNTech)": "EU/1/20/1528",
    "Moderna": "EU/1/20/1507",
    "SPIKEVAX": "EU/1/20/1507",
    "Vero Cell": "BBIBP-CorV",
    "Verocell": "BBIBP-CorV",
    "Vero-Cell (Sinopharm)": "BBIBP-CorV",
    "COVID-19 Vaccine (Vero Cell), Inactivated": "BBIBP-CorV",
    "Hayat-Vax": "Hayat-Vax",
    "Hayat Vax": "Hayat-Vax",
    "Sputnik V": "Sputnik-V",
    "sputnik light": "Sputnik-Light",
    "Abdala": "Abdala",
    "Janssen": "EU/1/20/1525",
    "Johnson & Johnson": "EU/1/20/1525",
    "EU/1/20/1528": "EU/1/20/1528",
    "Vacina adsorvida covid-19 (inativada)": "Covid-19-adsorvida-inativada",
    "VidPrevtyn Beta": "EU/1/21/1580",
}


@pytest.mark.parametrize(("text", "code"), WRITTEN_NAMES.items(), ids=WRITTEN_NAMES)
def test_product_for_name(text: str, code: str) -> None:
    """Names as people write them mean the product, in either case and Unicode form."""
    for form in ("NFC", "NFD"):
        for written in (text, text.upper(), text.lower()):
            product = DEFAULT.product_for_name(unicodedata.normalize(form, f" {written} "))
            assert product is not None
            assert product.code == code


@pytest.mark.parametrize("text", ["", " - ", "Sputnik", "Nanocovax", "Vidprevtyn", "NVX-CoV2373"])
def test_no_product_for_name(text: str) -> None:
    """A name that means no product, several, or a deprecated one, gives None."""
    assert DEFAULT.product_for_name(text) is None


def test_default_is_read_once() -> None:
    """default() is one object for all callers."""
    assert ValueSets.default() is DEFAULT


def test_import_reads_no_file() -> None:
    """Importing the module opens none of its data files."""
    code = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda e, a: seen.append(str(a[0])) if e == 'open' else None)\n"
        "import vaxpass_sign.record.valuesets as v\n"
        "assert not [s for s in seen if s.endswith('.json')] and 'json' not in sys.modules\n"
        "v.ValueSets.default()\n"
        "assert len([s for s in seen if s.endswith('.json')]) == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("as_file", [True, False], ids=["file", "mapping"])
def test_extend(as_file: bool, tmp_path: Path) -> None:
    """An extension adds and overrides codes, products and names; the old sets stay as they were."""
    path = tmp_path / "nanocovax.json"
    path.write_text("\ufeff" + json.dumps(NANO), encoding="utf-8")
    sets = DEFAULT.extend(path if as_file else NANO)
    assert sets.display("vaccine-medicinal-product", "Nanocovax") == "Nanocovax"
    assert sets.product("Nanocovax") == Product("Nanocovax", "Nanogen", "28531000087107", 2)
    product = sets.product_for_name("NANO COVAX VN")
    assert product is not None
    assert product.code == "Nanocovax"
    assert sets.product_for_name("nanocovax") == product
    assert sets.product_for_name("sinopharm") == sets.product("WIBP-CorV")
    assert sets.knows("vaccine-medicinal-product", "CVnCoV")
    assert not sets.is_active("vaccine-medicinal-product", "CVnCoV")
    assert sets.version("vaccine-medicinal-product") == "2.12.0 + VN 1"
    assert sets.date("vaccine-medicinal-product") == "2026-01-31"
    assert sets.date("vaccine-mah-manf") == "2022-01-26"
    assert sets.knows("vaccine-medicinal-product", "EU/1/20/1528")

    assert not DEFAULT.knows("vaccine-medicinal-product", "Nanocovax")
    assert DEFAULT.is_active("vaccine-medicinal-product", "CVnCoV")
    assert DEFAULT.product_for_name("sinopharm") == DEFAULT.product("BBIBP-CorV")


def test_extend_again_revives() -> None:
    """A later extension wins: it can make a code active again."""
    codes = {"codes": {"CVnCoV": "CVnCoV"}, "version": "2", "date": "2026-02-01"}
    again = {"format": FORMAT, "sets": {"vaccine-medicinal-product": codes}}
    sets = DEFAULT.extend(NANO).extend(again)
    assert sets.is_active("vaccine-medicinal-product", "CVnCoV")


def test_unknown_codes_and_sets() -> None:
    """An unknown code displays as itself; an unknown set is an InputError that lists the sets."""
    assert DEFAULT.display("vaccine-medicinal-product", "X1") == "X1"
    assert not DEFAULT.knows("vaccine-medicinal-product", "X1")
    assert DEFAULT.product("X1") is None
    with pytest.raises(InputError, match="expected one of country-2-codes, "):
        DEFAULT.knows("vaccines", "X1")


def a_set(**changes: object) -> dict:
    part = {"version": "1", "date": "2026-01-31", "codes": {}} | changes
    return {"format": FORMAT, "sets": {"vaccine-medicinal-product": part}}


def a_product(**changes: object) -> dict:
    part = {"manufacturer": "CIGB", "vaccine": "28531000087107", "doses": 3} | changes
    return {"format": FORMAT, "products": {"Abdala": part}}


BAD_DOCUMENTS = {
    "no object": ([], "expected an object"),
    "no format": ({}, "without format"),
    "other format": ({"format": "2"}, "another format"),
    "unknown key": ({"format": FORMAT, "set": {}}, "found the key 'set'"),
    "unknown set": ({"format": FORMAT, "sets": {"vaccines": {}}}, "found the key 'vaccines'"),
    "key of another type": ({"format": FORMAT, 1: {}}, "found the key a value of type int"),
    "sets no object": ({"format": FORMAT, "sets": None}, "sets: found nothing"),
    "set without a version": (
        {"format": FORMAT, "sets": {"test-type": {"date": "2026-01-31", "codes": {}}}},
        "test-type: without version",
    ),
    "version no text": (a_set(version=1), "version: expected a text"),
    "date written otherwise": (a_set(date="31/01/2026"), "expected a date"),
    "date without dashes": (a_set(date="20260131"), "expected a date"),
    "date that isn't": (a_set(date="2026-02-30"), "expected a date"),
    "date null": (a_set(date=None), "expected a date"),
    "display null": (a_set(codes={"A": None}), "'A': expected a text"),
    "display empty": (a_set(codes={"A": ""}), "'A': expected a text"),
    "display with a line end": (a_set(codes={"A": "a\nb"}), "'A': expected a text"),
    "display too long": (a_set(codes={"A": "a" * 201}), "'A': expected a text"),
    "unknown detail": (a_set(codes={"A": {"display": "A", "on": 1}}), "found the key 'on'"),
    "active no flag": (a_set(codes={"A": {"display": "A", "active": 1}}), "expected true or false"),
    "code with a space": (a_set(codes={"A B": "A"}), "'A B': not a code"),
    "empty code": (a_set(codes={"": "A"}), "'': not a code"),
    "code too long": (a_set(codes={"A" * 81: "A"}), "not a code"),
    "country of three letters": (
        {
            "format": FORMAT,
            "sets": {
                "country-2-codes": {"version": "1", "date": "2026-01-31", "codes": {"VNM": "V"}}
            },
        },
        "expected two capital letters",
    ),
    "doses 0": (a_product(doses=0), "from 1 to 9"),
    "doses true": (a_product(doses=True), "from 1 to 9"),
    "doses 2.0": (a_product(doses=2.0), "from 1 to 9"),
    "deprecated null": (a_product(deprecated=None), "expected true or false"),
    "unknown manufacturer": (a_product(manufacturer="Nobody"), "is not in vaccine-mah-manf"),
    "unknown vaccine": (a_product(vaccine="1"), "is not in vaccine-prophylaxis"),
    "unknown product": (
        {"format": FORMAT, "products": {"X": a_product()["products"]["Abdala"]}},
        "is not in vaccine-medicinal-product",
    ),
    "name of no product": (
        {"format": FORMAT, "product_names": {"X": "X"}},
        "not in the products table",
    ),
    "name without letters": (
        {"format": FORMAT, "product_names": {"--": "Abdala"}},
        "expected a letter or digit",
    ),
}


@pytest.mark.parametrize(("document", "message"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_documents(document: object, message: str, tmp_path: Path) -> None:
    """A part that breaks the format is a one-line InputError that says where and what."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    if not isinstance(document, dict) or 1 not in document:
        with pytest.raises(InputError, match=message) as caught:
            DEFAULT.extend(path)
        assert str(caught.value).startswith(f"value sets {path}: ")
        assert "\n" not in str(caught.value)
    if isinstance(document, dict):
        with pytest.raises(InputError, match=message):
            DEFAULT.extend(document)


BAD_FILES = {
    "empty": (b"", "not JSON at line 1, column 1"),
    "cut": (b'{"format":', "not JSON at line 1"),
    "latin-1": ('{"format": "é"}'.encode("latin-1"), "not UTF-8"),
    "doubled key": (b'{"format": "1", "format": "2"}', "the key 'format' stands twice"),
    "nested deep": (b"[" * 400_000, "out of all bounds"),
    "long number": (b'{"format": ' + b"9" * 5000 + b"}", "out of all bounds"),
    "too large": (b" " * 1_000_001, "more than 1000000 bytes"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(data: bytes, message: str, tmp_path: Path) -> None:
    """A file that isn't bounded UTF-8 JSON is an InputError, whatever is in it."""
    path = tmp_path / "mine.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        DEFAULT.extend(path)


@pytest.mark.parametrize("name", ["missing.json", ".", "a\0b"], ids=["missing", "folder", "nul"])
def test_unreadable_files(name: str, tmp_path: Path) -> None:
    """A file that can't be read is an InputError."""
    with pytest.raises(InputError, match="can't be read"):
        DEFAULT.extend(f"{tmp_path}/{name}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["sets", "products", "product_names", "codes", "display", *SETS, "A"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["sets", "products", "product_names"]), JSON))
def test_any_document(document: dict) -> None:
    """Any document of JSON values extends the sets or is an InputError."""
    with contextlib.suppress(InputError):
        DEFAULT.extend({"format": FORMAT, **document})
