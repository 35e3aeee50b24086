"""campaign.toml: read whole, or refused with the place that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from vaxpass_sign.campaign.settings import read_secret, read_settings
from vaxpass_sign.errors import CampaignError

WHOLE = """\
time_zone = "Asia/Ho_Chi_Minh"
value_sets = ["vaccines.json"]

[issuer]
country = "VN"
name = "Bộ Y tế"

[credential]
validity_days = 365
max_qr_version = 20

[key]
uri = "pkcs11:token=moh;object=dsc?module-name=softhsm2"
dsc = "dsc.pem"

[secret]
file = "../secret"

[columns]
"Họ và tên" = "full_name"

[vaccines]
"Vắc xin AZ" = "EU/1/21/1529"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "c").mkdir()
    path = tmp_path / "c" / "campaign.toml"
    path.write_text(WHOLE, encoding="utf-8")
    return path


def test_everything_is_read(path: Path) -> None:
    """Each setting arrives; paths are taken from the campaign's directory."""
    settings = read_settings(path)
    assert settings.time_zone.key == "Asia/Ho_Chi_Minh"
    assert (settings.country, settings.name) == ("VN", "Bộ Y tế")
    assert settings.validity == timedelta(days=365)
    assert settings.max_qr_version == 20
    assert settings.key == "pkcs11:token=moh;object=dsc?module-name=softhsm2"
    assert settings.dsc == path.parent / "dsc.pem"
    assert settings.secret == path.parent / "../secret"
    assert settings.columns == {"Họ và tên": "full_name"}
    assert settings.value_set_files == (path.parent / "vaccines.json",)


def test_the_operators_vaccines(path: Path) -> None:
    """Names and codes of the operator's own are known beside the library's."""
    (path.parent / "vaccines.json").write_text(
        '{"format": "vaxpass-sign value sets 1", "product_names": {"Elixir": "EU/1/20/1528"}}'
    )
    sets = read_settings(path).value_sets()
    assert sets.product_for_name("vắc xin az").code == "EU/1/21/1529"
    assert sets.product_for_name("Elixir").code == "EU/1/20/1528"
    path.write_text(WHOLE.replace("EU/1/21/1529", "EU/9/99/9999"), encoding="utf-8")
    with pytest.raises(CampaignError, match="EU/9/99/9999"):
        read_settings(path).value_sets()


def test_what_may_be_left_out(path: Path) -> None:
    """Cleaning needs no key, signing no secret; the rest has defaults."""
    short = WHOLE.split("[key]", maxsplit=1)[0].replace('value_sets = ["vaccines.json"]', "")
    path.write_text(short.replace("max_qr_version = 20", ""), encoding="utf-8")
    settings = read_settings(path)
    assert (settings.key, settings.dsc, settings.secret) == (None, None, None)
    assert (settings.max_qr_version, settings.columns, settings.vaccines) == (25, {}, {})


def test_a_key_file_is_a_path(path: Path) -> None:
    """A key that is no PKCS#11 URI is a file beside campaign.toml."""
    path.write_text(WHOLE.replace("pkcs11:token=moh;object=dsc?module-name=softhsm2", "key.pem"))
    assert read_settings(path).key == str(path.parent / "key.pem")


def change(old: str, new: str) -> Callable[[str], str]:
    def apply(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return apply


WRONG = {
    "no TOML": (lambda text: text + "\n]", "found no TOML"),
    "a name twice": (lambda text: text + '\n[issuer]\nname = "x"', "found no TOML"),
    "nothing": (lambda text: "", "time_zone: found nothing"),
    "a misspelt section": (change("[credential]", "[credentials]"), "found 'credentials', expected one of"),
    "a misspelt name": (change("country =", "contry ="), "issuer: found 'contry', expected one of"),
    "a setting missing": (change('name = "Bộ Y tế"', ""), "issuer.name: found nothing, expected a text"),
    "a number as text": (change("= 365", '= "365"'), "credential.validity_days: found another type"),
    "true as a number": (change("= 365", "= true"), "credential.validity_days: found another type"),
    "an empty text": (change('"VN"', '""'), "issuer.country: found another type, or nothing"),
    "a list of numbers": (change('["vaccines.json"]', "[1]"), "value_sets: found another type"),
    "no days": (change("= 365", "= 0"), "found 0, expected 1 to 36500"),
    "too many days": (change("= 365", "= 99999"), "found 99999, expected 1 to 36500"),
    "an unknown time zone": (change("Asia/Ho_Chi_Minh", "Asia/Nowhere"), "IANA database"),
    "a time zone with a way out": (change("Asia/Ho_Chi_Minh", "../../etc/passwd"), "IANA database"),
    "a column of numbers": (change('"full_name"', "1"), "columns.Họ và tên: found no text"),
    "a section as a text": (
        lambda text: 'secret = "../secret"\n' + text.split("[secret]")[0], "found no section",
    ),
    "a key without a DSC": (change('dsc = "dsc.pem"', ""), "key.dsc: found nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("apply", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(path: Path, apply: Callable[[str], str], words: str) -> None:
    """The place, what was found, what was expected; one line."""
    path.write_text(apply(WHOLE), encoding="utf-8")
    with pytest.raises(CampaignError) as caught:
        read_settings(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """A missing file, a directory and a huge file are errors that say what belongs there."""
    with pytest.raises(CampaignError, match="expected the campaign's settings"):
        read_settings(tmp_path / "campaign.toml")
    with pytest.raises(CampaignError, match="a directory"):
        read_settings(tmp_path)
    (tmp_path / "campaign.toml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(CampaignError):
        read_settings(tmp_path / "campaign.toml")


def test_the_secret(path: Path) -> None:
    """Exactly 32 bytes, whatever they are."""
    secret = path.parent.parent / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)
    assert read_secret(read_settings(path)) == bytes(32)
    secret.write_bytes(bytes(31) + b"\n")
    assert read_secret(read_settings(path))[-1:] == b"\n"
