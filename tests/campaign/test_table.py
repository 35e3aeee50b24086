"""Signing a table in one go: every row in exactly one file, and nothing half-written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from foreign import assert_read_by_others
from issuing import AT, dsc, make_issuer, private_key, trust
from vaxpass_sign import verify
from vaxpass_sign.campaign import table as table_module
from vaxpass_sign.campaign.table import read_signed, sign_table
from vaxpass_sign.errors import InputError, TokenError
from vaxpass_sign.record.valuesets import ValueSets
from vaxpass_sign.sample import dose_rows

SECRET = bytes(range(32))
ELIXIR = {
    "format": "vaxpass-sign value sets 1",
    "product_names": {"Elixir": "EU/1/20/1528"},
}
BAD = {
    10: {"birth_date": "1987-13-01"},
    11: {"vaccine_name": "Elixir"},
    12: {"full_name": "王小明"},
    13: {"vaccination_date": "2035-01-01"},
    14: {"record_id": ""},
    15: {"dose_number": "0", "birth_date": "soon"},
}


def table(path: Path, count: int, changes: dict[int, dict[str, str]] | None = None) -> Path:
    rows = [row | {"hometown": f"village {n}"} for n, row in enumerate(dose_rows(count))]
    for number, change in (changes or {}).items():
        rows[number] = rows[number] | change
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def rejected(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_in_exactly_one_file(tmp_path: Path) -> None:
    """Good rows are signed, bad ones rejected with line, reasons and all their columns."""
    path = table(tmp_path / "doses.csv", 4200, BAD)
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    assert (report.rows, report.signed, report.rejected) == (4200, 4194, 6)
    signed = parquet.read_table(report.signed_path).to_pylist()
    bad = rejected(report.rejected_path)
    rows = dose_rows(4200)
    assert [row["record_id"] for row in signed] == [
        row["record_id"] for n, row in enumerate(rows) if n not in BAD
    ]
    assert sorted(int(row["row"]) - 2 for row in bad) == sorted(BAD)
    for row in bad:
        assert row["hometown"] == f"village {int(row['row']) - 2}"
    reasons = {int(row["row"]) - 2: row["reasons"] for row in bad}
    assert "birth_date" in reasons[10]
    assert "vaccine_name" in reasons[11]
    assert "Elixir" not in reasons[11]
    assert "fnt" in reasons[12]
    assert "future" in reasons[13]
    assert "record_id" in reasons[14]
    assert "dose_number" in reasons[15]
    assert "birth_date" in reasons[15]
    for row in signed[::300]:
        assert_read_by_others(row["hc1"], private_key("dsc").public_key(), dsc().kid, "ES256")
        assert row["kid"] == dsc().kid
    for row in signed:
        verdict = verify(row["hc1"], trust(), at=AT)
        assert verdict.valid
        assert verdict.hcert.payload["v"][0]["ci"] == row["uvci"]
        assert verdict.hcert.expires_at.timestamp() == row["expires_at"]


def test_the_same_table_gives_the_same_uvcis(tmp_path: Path) -> None:
    """Signing again gives each row its UVCI again; another secret gives others."""
    path = table(tmp_path / "doses.csv", 30)

    def uvcis(folder: str, secret: bytes) -> list[str]:
        report = sign_table(path, make_issuer(), tmp_path / folder, secret=secret)
        return parquet.read_table(report.signed_path).column("uvci").to_pylist()

    first = uvcis("a", SECRET)
    assert len(set(first)) == 30
    assert uvcis("b", SECRET) == first
    assert not set(uvcis("c", bytes(32))) & set(first)


def test_mended_rejects_are_a_table(tmp_path: Path) -> None:
    """rejected.csv can be mended and signed as it is; what is rejected again looks the same."""
    path = table(tmp_path / "doses.csv", 30, BAD)
    sign_table(path, make_issuer(), tmp_path / "a", secret=SECRET)
    again = sign_table(
        tmp_path / "a" / "rejected.csv", make_issuer(), tmp_path / "b", secret=SECRET
    )
    assert again.rejected == len(BAD)
    mended = (
        (tmp_path / "b" / "rejected.csv").read_text(encoding="utf-8").replace("Elixir", "Pfizer")
    )
    assert mended.splitlines()[0].count("reasons") == 1
    (tmp_path / "mended.csv").write_text(mended, encoding="utf-8")
    assert (
        sign_table(tmp_path / "mended.csv", make_issuer(), tmp_path / "c", secret=SECRET).signed
        == 1
    )


def test_the_operators_value_sets(tmp_path: Path) -> None:
    """A vaccine that only the operator's value sets know is signed with them."""
    path = table(tmp_path / "doses.csv", 2, {1: {"vaccine_name": "Elixir"}})
    sets = ValueSets.default().extend(ELIXIR)
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET, value_sets=sets)
    assert report.signed == 2


def test_a_row_twice(tmp_path: Path) -> None:
    """The second row of one facility's number is rejected; another facility's is not."""
    rows = dose_rows(3)
    again = {"record_id": rows[0]["record_id"], "facility_id": rows[0]["facility_id"]}
    path = table(tmp_path / "d.csv", 3, {1: again, 2: again | {"facility_id": "other"}})
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    assert report.signed == 2
    assert "an earlier row" in rejected(report.rejected_path)[0]["reasons"]


def test_personal_numbers_decide_the_person(tmp_path: Path) -> None:
    """Two rows with one number have one person_key, whatever facility; without one they differ."""
    same = {"personal_id": "019187000001", "id_kind": "cccd"}
    path = table(
        tmp_path / "d.csv",
        5,
        {0: {}, 1: {}, 2: {}, 3: {}, 4: {}},
    )
    text = path.read_text(encoding="utf-8").splitlines()
    header = text[0] + ",personal_id,id_kind"
    ends = [",019187000001,cccd", ",019187000001,", ",", ",123456789,CMND", ",12AB,library card"]
    lines = [
        line + (end if end.count(",") == 2 else ",,")
        for line, end in zip(text[1:], ends, strict=True)
    ]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    keys = parquet.read_table(report.signed_path).column("person_key").to_pylist()
    assert keys[0] == keys[1]
    assert len(keys) == 4
    assert len(set(keys)) == 3
    (bad,) = rejected(report.rejected_path)
    assert "personal_id" in bad["reasons"] or "id_kind" in bad["reasons"]
    assert "12AB" not in bad["reasons"]
    assert same["personal_id"] not in bad["reasons"]


def test_a_number_is_its_facilitys(tmp_path: Path) -> None:
    """Rows of two facilities with one record_id are two persons."""
    rows = dose_rows(1)
    same = {name: rows[0][name] for name in rows[0] if name != "facility_id"}
    path = table(tmp_path / "d.csv", 2, {1: same | {"facility_id": "elsewhere"}})
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    signed = parquet.read_table(report.signed_path)
    assert len(set(signed.column("person_key").to_pylist())) == 2
    assert len(set(signed.column("uvci").to_pylist())) == 2


def test_a_dose_twice(tmp_path: Path) -> None:
    """A dose that two facilities report is signed once: one UVCI never stands in the file twice."""
    rows = dose_rows(1)
    dose = {name: rows[0][name] for name in ("vaccine_name", "vaccination_date", "dose_number")}
    path = table(tmp_path / "d.csv", 2, {1: dose | {"facility_id": "elsewhere"}})
    lines = path.read_text(encoding="utf-8").splitlines()
    ends = (",personal_id", ",B 1234567", ",b1234567")
    path.write_text(
        "\n".join(a + b for a, b in zip(lines, ends, strict=True)) + "\n", encoding="utf-8"
    )
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    assert (report.signed, report.rejected) == (1, 1)
    assert "a dose that an earlier row has" in rejected(report.rejected_path)[0]["reasons"]


def test_a_missing_column(tmp_path: Path) -> None:
    """A table without a required column is an error before anything is signed or written."""
    (tmp_path / "d.csv").write_text("record_id,full_name\n1,An\n", encoding="utf-8")
    with pytest.raises(InputError, match="birth_date"):
        sign_table(tmp_path / "d.csv", make_issuer(), tmp_path / "out", secret=SECRET)
    assert not (tmp_path / "out").exists()


class Breaks:
    """A real key that breaks at its n-th batch."""

    def __init__(self, issuer, at: int) -> None:
        self.issuer, self.left = issuer, at
        self.country, self.dsc = issuer.country, issuer.dsc

    def issue_columns(self, columns):
        self.left -= 1
        if not self.left:
            raise TokenError("the token is gone")
        return self.issuer.issue_columns(columns)


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """When the token fails in the middle, neither file appears, and a second call succeeds."""
    path = table(tmp_path / "d.csv", 4100)
    with pytest.raises(TokenError):
        sign_table(path, Breaks(make_issuer(), 2), tmp_path / "out", secret=SECRET)
    assert list((tmp_path / "out").iterdir()) == []
    assert sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET).signed == 4100


def test_what_was_issued_is_never_replaced(tmp_path: Path) -> None:
    """A folder that holds signed credentials is refused, and they stay as they were."""
    report = sign_table(table(tmp_path / "d.csv", 3), make_issuer(), tmp_path / "o", secret=SECRET)
    before = report.signed_path.read_bytes()
    with pytest.raises(InputError, match="never replaced"):
        sign_table(table(tmp_path / "e.csv", 5), make_issuer(), tmp_path / "o", secret=SECRET)
    assert report.signed_path.read_bytes() == before


def test_what_another_program_just_issued_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program that finishes the folder right before our lock keeps what it issued."""
    real = table_module.replace_file

    def replace_file_late(path: Path):
        if path.name == "signed.parquet":
            path.write_bytes(b"the other's")
        return real(path)

    monkeypatch.setattr(table_module, "replace_file", replace_file_late)
    with pytest.raises(InputError, match="never replaced"):
        sign_table(table(tmp_path / "d.csv", 3), make_issuer(), tmp_path / "o", secret=SECRET)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["signed.parquet"]
    assert (tmp_path / "o" / "signed.parquet").read_bytes() == b"the other's"


def test_odd_lines_are_rejects(tmp_path: Path) -> None:
    """Lines that are no rows, and text that no file can hold, come out in the rejects."""
    rows = [json.dumps(row, ensure_ascii=False) for row in dose_rows(3)]
    rows[1:1] = ['{"full_name":"Nguyen \\ud800 X"}', '{"\\ud800":1}', "[1]", "no JSON"]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    report = sign_table(path, make_issuer(), tmp_path / "o", secret=SECRET)
    assert (report.signed, report.rejected) == (3, 4)
    assert [row["rest"] for row in rejected(report.rejected_path)] == ["", "", "[1]", "no JSON"]


def test_surplus_values_are_kept(tmp_path: Path) -> None:
    """What a row has too much stands in the rejects."""
    path = table(tmp_path / "d.csv", 2)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], lines[2] + ",more,and more"]), encoding="utf-8")
    report = sign_table(path, make_issuer(), tmp_path / "o", secret=SECRET)
    (bad,) = rejected(report.rejected_path)
    assert bad["rest"] == "more, and more"


def test_rejected_alone_is_no_result(tmp_path: Path) -> None:
    """When signed.parquet can't be written in the end, the error names it and nothing was issued."""
    (tmp_path / "o" / ".signed.parquet.tmp").mkdir(parents=True)
    with pytest.raises(InputError, match=r"signed\.parquet can't be written"):
        sign_table(table(tmp_path / "d.csv", 3), make_issuer(), tmp_path / "o", secret=SECRET)
    assert [path.name for path in (tmp_path / "o").iterdir()] == [".signed.parquet.tmp"]


def test_a_table_of_rejects_only(tmp_path: Path) -> None:
    """A table without one good row gives an empty signed file."""
    path = table(tmp_path / "d.csv", 2, {0: {"birth_date": "x"}, 1: {"birth_date": "x"}})
    report = sign_table(path, make_issuer(), tmp_path / "out", secret=SECRET)
    assert (report.signed, report.rejected) == (0, 2)
    assert list(read_signed(report.signed_path)) == []


def test_progress(tmp_path: Path) -> None:
    """Progress counts the rows done, rejected ones included."""
    done: list[int] = []
    path = table(tmp_path / "d.csv", 4100, BAD)
    sign_table(path, make_issuer(), tmp_path / "o", secret=SECRET, progress=done.append)
    assert done == [2000, 4000, 4100]


def test_files_are_private(tmp_path: Path) -> None:
    """Both files hold personal data and are the user's alone."""
    report = sign_table(table(tmp_path / "d.csv", 2), make_issuer(), tmp_path / "o", secret=SECRET)
    for path in (report.signed_path, report.rejected_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert report.signed_path.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_of_another_length(tmp_path: Path) -> None:
    """A secret that is not 32 bytes is an error, not a table of rejects."""
    with pytest.raises(InputError, match="32"):
        sign_table(table(tmp_path / "d.csv", 2), make_issuer(), tmp_path / "o", secret=b"short")
