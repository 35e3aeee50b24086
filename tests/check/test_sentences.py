"""What a guard is told: a sentence for each reason, in each language, in the catalogue that is read."""

from __future__ import annotations

import io
from importlib.resources import files

import pytest
from babel.messages import mofile, pofile
from babel.messages.catalog import Catalog

from vaxpass_sign.check import Reason
from vaxpass_sign.check.sentences import LANGUAGES, SENTENCES, sentence
from vaxpass_sign.errors import InputError

CATALOGUES = files("vaxpass_sign") / "locale"
OTHERS = [language for language in LANGUAGES if language != "en"]


def catalogue(language: str) -> Catalog:
    source = CATALOGUES / language / "LC_MESSAGES" / "verdicts.po"
    return pofile.read_po(io.BytesIO(source.read_bytes()), abort_invalid=True)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_sentence_in_each_language(reason: Reason) -> None:
    """They end as sentences do, and a translation is another text than what it translates."""
    said = [sentence(reason, language) for language in LANGUAGES]
    assert all(text.endswith(".") for text in said)
    assert len(set(said)) == len(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_has_what_is_said_and_no_more(language: str) -> None:
    """Every English sentence once, translated, and none that is no longer said."""
    messages = [message for message in catalogue(language) if message.id]
    assert [message.id for message in messages] == list(dict.fromkeys(SENTENCES.values()))
    assert all(message.string and not message.fuzzy for message in messages)


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_read_is_what_is_written(language: str) -> None:
    """The .mo is the .po compiled: ``pybabel compile -D verdicts -d src/vaxpass_sign/locale``."""
    compiled = CATALOGUES / language / "LC_MESSAGES" / "verdicts.mo"
    with compiled.open("rb") as file:
        stored = mofile.read_mo(file)
    assert {message.id: message.string for message in stored if message.id} == {
        message.id: message.string for message in catalogue(language) if message.id
    }


@pytest.mark.parametrize("language", ["de", "", "../vi", "vi_VN"])
def test_another_language(language: str) -> None:
    """An error that lists the languages."""
    with pytest.raises(InputError, match="expected one of en, vi"):
        sentence(Reason.VALID, language)
