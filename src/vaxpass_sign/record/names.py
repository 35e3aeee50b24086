"""Names in the machine-readable alphabet A–Z and ``<`` (ICAO Doc 9303-3, 8th edition, §4.6 and §6).

The rules that this module keeps:

* **Latin** (§6.A): every letter of the table. Where it lets the state choose, the first-listed is
  taken: Ä → AE, Å → AA, Ñ → N, Ö → OE, Ü → UE. Letters that the table lacks lose their marks one
  by one until a letter of the table is left (Ế → Ê → E, Ǻ → Å → AA), in both Unicode forms, so
  every Vietnamese letter with every tone mark has its place. Đ and its look-alikes Ð and Ɖ are D.
* **Cyrillic** (§6.B): every letter of the table, its default column only. The exceptions for
  Belarusian, Bulgarian, Macedonian, Serbian and Ukrainian need to know the language; who follows
  national rules enters fnt and gnt. Two letters are not in the table: Ь has no sound of its own
  and is left out, as passports do; Ћ is C, as the Latin Ć that Serbian writes for it.
* **Punctuation** (§4.6): spaces, hyphens and commas are one ``<``; apostrophes, full stops and
  other punctuation are left out. ``<`` itself stays, so the result transliterates to itself.
* **Refused**, never dropped: digits (§4.6), letters of other scripts, Latin and Cyrillic letters
  mixed in one word (look-alikes: С is S, C is C), invisible and control characters, and signs
  such as ``?`` that stand where a letter was lost. The error names place and kind, never the name.
* Longer than 80: cut to 80, as the DCC schema allows no more.

>>> transliterate("Nguyễn Thị Minh-Khai"), transliterate("D'Červenková Panklová")
('NGUYEN<THI<MINH<KHAI', 'DCERVENKOVA<PANKLOVA')
>>> transliterate("Þórður Łukasz Gößmann"), transliterate("Щербаков")
('THORDUR<LUKASZ<GOESSMANN', 'SHCHERBAKOV')
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category, decomposition, normalize
from unicodedata import name as unicode_name

from vaxpass_sign.errors import RecordError, Violation

__all__ = ["MAX_NAME", "normalise_name", "transliterate"]

MAX_NAME = 80
"""The longest fn, fnt, gn or gnt, in characters (DCC schema 1.3.0)."""

# Unicode sorts the combining marks of a run, which takes time with the square of its length.
# A name of 80 letters with three marks each has 320 code points; ten times that is no name.
_MAX_RAW = 1000

_FILLER = "<"
_REFUSED = "\ufffd"  # Not ASCII, so that a name that holds a refused character is noticed at once.

# §6.A, grouped by transliteration; lower case follows from these. Ɖ is an addition (see above).
_LATIN_ROWS = {
    "A": "AÀÁÂÃĀĂĄ", "AA": "Å", "AE": "ÄÆ", "B": "B", "C": "CÇĆĈĊČ", "D": "DÐĎĐƉ",
    "E": "EÈÉÊËĒĔĖĘĚ", "F": "F", "G": "GĜĞĠĢ", "H": "HĤĦ", "I": "IÌÍÎÏĨĪĬĮİı", "IJ": "Ĳ",
    "J": "JĴ", "K": "KĶ", "L": "LĹĻĽĿŁ", "M": "M", "N": "NÑŃŅŇŊ", "O": "OÒÓÔÕŌŎŐ", "OE": "ÖØŒ",
    "P": "P", "Q": "Q", "R": "RŔŖŘ", "S": "SŚŜŞŠ", "SS": "ẞ", "T": "TŢŤŦ", "TH": "Þ",
    "U": "UÙÚÛŨŪŬŮŰŲ", "UE": "Ü", "V": "V", "W": "WŴ", "X": "X", "Y": "YÝŶŸ", "Z": "ZŹŻŽ",
}  # fmt: skip

# §6.B, its default column, by code point: the row of Ђ (0402) is printed with the glyph of Ћ, and
# that of Ѵ (0474) with a V. Ь and Ћ are additions (see above).
_CYRILLIC_ROWS = {
    "A": "А", "B": "Б", "C": "ҺЋ", "CH": "Ч", "D": "ДЂ", "DZ": "ЅЏ", "E": "ЁЕЭ", "F": "Ф",
    "G": "ГҐҒ", "I": "ІЇИЙ", "IA": "Я", "IE": "ЄЪ", "IU": "Ю", "J": "Ј", "K": "КЌ", "KH": "Х",
    "L": "Л", "LJ": "Љ", "M": "М", "N": "Н", "NJ": "Њ", "O": "О", "P": "П", "R": "Р", "S": "С",
    "SH": "Ш", "SHCH": "Щ", "T": "Т", "TS": "Ц", "U": "УЎѪ", "V": "В", "Y": "ЫѴ", "Z": "З",
    "ZH": "Ж", "": "Ь",
}  # fmt: skip

# Commas, the minus sign and the hyphen bullet; spaces and dashes are known by their category.
_FILLERS = "<,\u060c\u3001\ufe50\uff0c\u2043\u2212"
# What is typed for an apostrophe and isn't punctuation to Unicode.
_APOSTROPHES = (
    "`\u00b4\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u02ee\ua78b\ua78c\uff40"
)
# Other punctuation is left out (§4.6), but these never stand in a name: ? is what a failed
# conversion leaves of a letter, and the others are slips or remains of another format.
_NOT_IN_NAMES = "?¿#%&*@\\_\uff1f"

# Marks that may stand on a Latin or Cyrillic letter. U+034F joins graphemes and is invisible.
_MARKS = ((0x0300, 0x034E), (0x0350, 0x036F), (0x0483, 0x0487), (0x1AB0, 0x1ACE), (0x1DC0, 0x1DFF))

_EXPECTED = (
    "letters of the Latin or Cyrillic tables of ICAO 9303-3 §6; for others enter fnt and gnt"
)


class _Table(dict[int, str]):
    """Code point → text, for ``str.translate``; what isn't listed is worked out when first met.

    What has a place is kept, so that a name costs one look-up a character; what has none is
    ``_REFUSED``. Threads may share a table: the same key always gets the same text.
    """

    __slots__ = ()

    def __missing__(self, code: int) -> str:
        text = self._work_out(chr(code))
        if text != _REFUSED:
            self[code] = text
        return text

    def _work_out(self, letter: str) -> str:
        kind = category(letter)
        if kind in ("Zs", "Pd"):
            return _FILLER
        if kind[0] == "P":
            return _REFUSED if letter in _NOT_IN_NAMES else ""
        if kind == "Mn":
            return "" if any(a <= ord(letter) <= b for a, b in _MARKS) else _REFUSED
        return self._reduce(letter) if kind[0] == "L" else _REFUSED

    def _reduce(self, letter: str) -> str:
        steps = decomposition(letter)
        if steps and steps[0] != "<":
            return self[int(steps.split(" ", 1)[0], 16)]
        # Ligatures, digraphs and letters of other widths (ﬁ, Ǆ, Ａ) stand for plain letters.
        plain = normalize("NFKC", letter)
        if plain == letter or not plain.isalpha():
            return _REFUSED
        parts = [self[ord(part)] for part in plain]
        return _REFUSED if _REFUSED in parts else "".join(parts)


def _table(rows: dict[str, str]) -> _Table:
    table = _Table(dict.fromkeys(map(ord, _FILLERS), _FILLER))
    table.update(dict.fromkeys(map(ord, _APOSTROPHES), ""))
    for text, letters in rows.items():
        for letter in letters:
            table[ord(letter)] = text
            if len(letter.lower()) == 1:  # İ has no lower case of one character.
                table[ord(letter.lower())] = text
    return table


_LATIN = _table(_LATIN_ROWS)
_CYRILLIC = _table(_CYRILLIC_ROWS)
# Known strangers, so that a Cyrillic name doesn't have each letter worked out against Latin.
_LATIN.update(dict.fromkeys(_CYRILLIC.keys() - _LATIN.keys(), _REFUSED))


def normalise_name(name: str) -> str:
    """The name as it is written into fn or gn: NFC, single spaces, none at the ends.

    Spaces of every width count; tabs, line ends and other control characters stay as they are, to
    be refused. Raises: RecordError for more than 1,000 code points.
    """
    text = _to_nfc(name)
    if not text.isprintable():
        text = "".join(" " if category(letter) == "Zs" else letter for letter in text)
    if "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join([word for word in text.split(" ") if word])
    return text


def transliterate(name: str) -> str:
    """The name in A–Z and ``<``, at most 80 characters, as fnt or gnt hold it.

    No ``<`` stands at an end or next to another. A name without letters gives "".

    Raises: RecordError (an InputError) with one violation of the field "name", at the first
    character that has no place; positions count the characters of the name's NFC form.
    """
    text = _to_nfc(name)
    result = text.translate(_LATIN)
    if not result.isascii():
        result = text.translate(_CYRILLIC)
        if not result.isascii():
            result = _FILLER.join(_transliterate_words(text))
    if "<<" in result or result[:1] == _FILLER or result[-1:] == _FILLER:
        result = _FILLER.join([word for word in result.split(_FILLER) if word])
    if len(result) > MAX_NAME:
        result = result[:MAX_NAME].rstrip(_FILLER)
    return result


def _to_nfc(name: str) -> str:
    if len(name) > _MAX_RAW:
        found = f"{len(name)} characters"
        raise RecordError([Violation("name", found, f"at most {_MAX_RAW}")])
    return normalize("NFC", name)


def _transliterate_words(text: str) -> Iterable[str]:
    """Each word by the one alphabet that has all its letters; refuses the first that has none."""
    start = 0
    for end in range(len(text) + 1):
        if end < len(text) and _LATIN[ord(text[end])] != _FILLER:
            continue
        word = text[start:end]
        latin, cyrillic = word.translate(_LATIN), word.translate(_CYRILLIC)
        if not latin.isascii() and not cyrillic.isascii():
            raise _refusal(text, start, word)
        yield latin if latin.isascii() else cyrillic
        start = end + 1


def _refusal(text: str, start: int, word: str) -> RecordError:
    """Says which character of the text has no place and why, without saying which letter it is."""
    codes = [ord(letter) for letter in word]
    homes = [(_LATIN[code] != _REFUSED, _CYRILLIC[code] != _REFUSED) for code in codes]
    if (False, False) in homes:
        index = homes.index((False, False))
        what = _kind(word[index])
    else:
        # Every letter has a place, but not in the same alphabet: name the first that changes it.
        first = next(home for home in homes if home != (True, True))
        index = homes.index((not first[0], not first[1]))
        what = "a letter of another alphabet than the letters before it"
    position = start + index + 1
    ending = {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    if position % 100 in (11, 12, 13):
        ending = "th"
    length = "1 character" if len(text) == 1 else f"{len(text)} characters"
    return RecordError([Violation("name", f"{length}, the {position}{ending} {what}", _EXPECTED)])


def _kind(letter: str) -> str:
    kind = category(letter)
    if kind[0] == "C" or kind in ("Zl", "Zp") or ord(letter) == 0x034F:
        return f"an invisible or unassigned character (U+{ord(letter):04X})"
    if kind[0] == "N":
        return "a digit or number"
    if kind[0] not in "LM":
        return f"a sign that no name has ({unicode_name(letter, 'UNKNOWN')})"
    script = unicode_name(normalize("NFKD", letter)[0], "UNKNOWN").split(" ", 1)[0]
    if script in ("LATIN", "CYRILLIC"):
        return f"a {script.capitalize()} letter that the tables lack"
    return f"from another script ({script})"
