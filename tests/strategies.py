"""hypothesis strategies for valid records."""

from __future__ import annotations

from datetime import date

from hypothesis import strategies as st

from vaxpass_sign.record.model import VaccinationRecord

ASCII = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VIETNAMESE = "ĂÂĐÊÔƠƯăâđêôơưáàảãạắằẳẵặấầẩẫậéèẻẽẹếềểễệíìỉĩịóòỏõọốồổỗộớờởỡợúùủũụứừửữựýỳỷỹỵ"
LATIN = ASCII + VIETNAMESE + "ÆØÅÞßÐŁŻČñüöäç -'"
CYRILLIC = "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя -'"

words = st.one_of(
    st.text(alphabet, min_size=1, max_size=40).filter(
        lambda text: any(c.isalpha() and c not in "Ьь" for c in text)
    )
    for alphabet in (LATIN, CYRILLIC)
)
birth_dates = st.one_of(
    st.just(""),
    st.integers(1900, 2020).map(str),
    st.tuples(st.integers(1900, 2020), st.integers(1, 12)).map(lambda ym: f"{ym[0]}-{ym[1]:02}"),
    st.dates(date(1900, 1, 1), date(2020, 12, 31)).map(date.isoformat),
)
PRODUCTS = ("EU/1/20/1528", "EU/1/21/1529", "EU/1/20/1507", "BBIBP-CorV", "Sputnik-V", "Abdala")

records = st.builds(
    VaccinationRecord,
    surname=words,
    given_name=st.one_of(st.just(""), words),
    birth_date=birth_dates,
    product=st.sampled_from(PRODUCTS),
    dose_number=st.integers(1, 9),
    dose_total=st.integers(1, 9),
    vaccination_date=st.dates(date(2021, 1, 1), date(2025, 12, 31)).map(date.isoformat),
    country=st.sampled_from(("", "VN", "FR")),
    issuer=st.sampled_from(
        ("", "Sở Y tế Thái Nguyên", "100% %b %%", "A rather long name of an issuing office")
    ),
)
