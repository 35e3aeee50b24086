"""The documentation says what is so: its commands run, its lists are complete, its links lead on.

``PYTHONPATH=tests python tests/docs/test_docs.py`` writes docs/reference/command-line.md anew.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from docs.session import Command, blocks, run_page
from foreign import missing
from issuing import RECORD, csca, make_issuer, private_key
from proxy.proxy import Proxy
from running import dsc_for_today
from signed_lists import gdhcn_list
from tokens.softhsm import find_softhsm
from vaxpass_sign import TrustStore, inspect, verify
from vaxpass_sign.check.policy import POLICIES, Policy
from vaxpass_sign.check.verdict import STEP_OF, NotChecked, Reason, Step
from vaxpass_sign.check.verdict_table import COLUMNS as VERDICT_COLUMNS
from vaxpass_sign.cli.show import verdict_object
from vaxpass_sign.errors import TrustFault
from vaxpass_sign.hcert import base45, cose, framing
from vaxpass_sign.hcert.qr_capacity import QR_CAPACITY, qr_version
from vaxpass_sign.prepare.doses import COLUMNS
from vaxpass_sign.record.uvci import derive_uvci, person_key
from vaxpass_sign.x509 import Certificate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMAND_LINE = DOCS / "reference" / "command-line.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TOY_PIN = "toy-pin-7431"

# --- the tutorials -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the examples, as a clone has them; skipped without SoftHSM."""
    if find_softhsm() is None or shutil.which("softhsm2-util") is None:
        reason = "SoftHSM is not installed (Debian: apt-get install softhsm2)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", clone / "examples")
    return clone


@pytest.fixture(scope="module")
def first_credential(tutorial: Path) -> list[Command]:
    return run_page(DOCS / "tutorial" / "first-credential.md", tutorial, TOY_PIN)


@pytest.fixture(scope="module")
def first_table(tutorial: Path, first_credential: list[Command]) -> list[Command]:
    return run_page(DOCS / "tutorial" / "first-table.md", tutorial, TOY_PIN)


# What the shown and the real output must have in common; the rest are examples.
WORDS = re.compile(
    r"\bNOT VALID\b|\bVALID\b|\bCHECKED\b|\binflate\b|\bsignature\b|^(?:\d+|True \w+)$"
    r"|\d+ rows: .*|\d+ people to sign|^to sign +.*|\d+ signed\b|\bnothing to sign\b|^CLEAN\b.*"
    r"|^  (?:input|clean) rows .*|\d+ of \d+ verified|^(?:019|all) .*|^TD\d+ \d+ .*",
    re.MULTILINE,
)


def check_commands(commands: list[Command]) -> None:
    """Each command succeeds, unless the page goes on with ``echo $?``; key words are as shown."""
    following = [command.text for command in commands[1:]] + [""]
    for command, after in zip(commands, following, strict=True):
        if after != "echo $?":
            assert command.status == 0, f"$ {command.text}\n{command.output}"
        for word in WORDS.findall(command.shown):
            assert word in WORDS.findall(command.output), f"$ {command.text}\n{command.output}"


def test_first_credential_runs(first_credential: list[Command]) -> None:
    """Every command of the first tutorial does what the page says."""
    assert len(first_credential) > 15
    check_commands(first_credential)


def test_first_table_runs(first_table: list[Command]) -> None:
    """Every command of the second tutorial does what the page says."""
    assert len(first_table) > 10
    check_commands(first_table)


@pytest.fixture(scope="module")
def get_a_dsc(tutorial: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Command]:
    return run_page(DOCS / "how-to" / "get-a-dsc.md", tmp_path_factory.mktemp("empty"), TOY_PIN)


def test_get_a_dsc_runs(get_a_dsc: list[Command]) -> None:
    """Every command of the way to a DSC does what the page says, in an empty folder."""
    assert len(get_a_dsc) > 15
    check_commands(get_a_dsc)
    output = "".join(command.output for command in get_a_dsc)
    assert TOY_PIN not in output
    for line in (
        r"can sign    ES256 \(CKM_ECDSA\), PS256 \(CKM_RSA_PKCS_PSS\)$",
        r"; confirmed by N\.V\.A\. and T\.T\.B\.$",
        r"^vaxpass-sign: wrote request\.pem: ",
        r"^Certificate request self-signature verify OK$",
        r"^kid [0-9a-f]{16}$",
        r"it is this key's, and was read back$",
        r"^    certificate 'dsc-2026', EC P-256, id [0-9a-f]{32}, of 'DSC 2026-1', until ",
        r"^VALID  credential\.txt, line 1$",
    ):
        assert re.search(line, output, re.MULTILINE), line


def test_keep_a_trust_list_runs(tmp_path: Path) -> None:
    """Every command of the page does what it says, with lists as it describes them."""
    now = datetime.now(UTC).replace(microsecond=0)
    dscs = [dsc_for_today(), *(dsc_for_today(f"number {number}") for number in range(4))]
    for name, days, some in (("", 1, dscs), ("newer", 0.55, dscs), ("cut", 0.4, dscs[:1])):
        (tmp_path / name).mkdir(exist_ok=True)
        data = gdhcn_list(*some, cscas=(csca(),), issued=now - timedelta(days=days))
        (tmp_path / name / "who.json").write_bytes(data)
    key = private_key("did").public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "who.pem").write_bytes(key.public_bytes(*form))
    issuer = make_issuer(dsc=dscs[0], clock=now.timestamp)
    (tmp_path / "credential.txt").write_text(issuer.issue(RECORD) + "\n")
    page = DOCS / "how-to" / "keep-a-trust-list.md"
    ran = run_page(page, tmp_path, TOY_PIN)
    check_commands(ran)
    assert len(ran) == 7
    for command in ran:
        for line in command.shown.splitlines():
            # What is not a time or an age is as shown.
            if not re.search(r"…|2026-|  age ", line):
                assert line in command.output.splitlines(), f"$ {command.text}\n{command.output}"
    refusal = next(command for command in ran if "cut/who.json" in command.text)
    assert refusal.status == 2


def test_revoke_runs(tutorial: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every command of the page on revocation does what it says, and says what is shown."""
    if shutil.which("openssl") is None:
        missing("openssl")
    page = DOCS / "how-to" / "revoke.md"
    ran = run_page(page, tmp_path_factory.mktemp("revoke"), TOY_PIN)
    check_commands(ran)
    changing = re.compile(r"[0-9a-f]{16}|[0-9-]{10} [0-9:]{5} UTC")
    compared = 0
    for command in ran:
        if " revoke " in command.text or command.text == "echo $?":
            shown = [line for line in command.shown.splitlines() if "…" not in line]
            output = changing.sub("#", command.output).splitlines()
            assert [line for line in shown if changing.sub("#", line) not in output] == []
            compared += len(shown)
    assert compared > 20
    assert not [command for command in ran if TOY_PIN in command.text + command.output]
    # What the table at the end quotes is what the program says.
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    for row in re.findall(r"^\| `(.*?)` \|", page.read_text("utf-8"), re.MULTILINE):
        words = re.sub(r"^found | …$|BUSY.*", "", row)
        assert words in source, row


def test_verify_many_runs(tmp_path: Path) -> None:
    """Every command of the page does what it says, and shows it."""
    if find_softhsm() is None:
        missing("SoftHSM (Debian: apt-get install softhsm2)")
    ran = run_page(DOCS / "how-to" / "verify-many.md", tmp_path, TOY_PIN)
    check_commands(ran)
    for command in ran[1:]:
        assert command.output.splitlines()[-1:] == command.shown.splitlines()[-1:], command.text


def test_token_code_runs(tmp_path_factory: pytest.TempPathFactory, proxy_library: Path) -> None:
    """Every command of the page on the proxy does what it says, with the two files that it names."""
    if find_softhsm() is None or shutil.which("softhsm2-util") is None:
        missing("SoftHSM (Debian: apt-get install softhsm2)")
    clone = tmp_path_factory.mktemp("token-code")
    shutil.copytree(ROOT / "tests" / "proxy", clone / "tests" / "proxy")
    page = DOCS / "how-to" / "test-your-token-code.md"
    ran = run_page(page, clone, TOY_PIN)
    check_commands(ran)
    five = next(command for command in ran if command.text.startswith("python five.py"))
    said = re.compile(r"^\d (?:64 bytes True|TokenLostError .*CKR_DEVICE_ERROR)", re.MULTILINE)
    assert len(said.findall(five.shown)) == 5
    shown, real = ([line.split()[1] for line in said.findall(t)] for t in (five.shown, five.output))
    assert shown == real
    assert "2 passed" in ran[-1].output
    assert not [command for command in ran if TOY_PIN in command.text + command.output]
    # Each fault of the table is one that the proxy knows, written as its settings have it.
    library = Proxy(clone, proxy_library, Path("/nowhere"))
    rows = re.findall(r"^\| `\"(.*?)\"`.*?\| `(.*?)` \|", page.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 8
    for action, setting in rows:
        assert library.fail("C_Sign", action).setting.endswith(f" all {setting}"), action


def test_no_pin_in_any_argument(first_table: list[Command], tutorial: Path) -> None:
    """The tutorials' PIN is in no command and in no file that they leave, but for the token's."""
    folder = tutorial / "build" / "tutorial"
    for path in folder.rglob("*"):
        if path.is_file() and "tokens" not in path.relative_to(folder).parts:
            assert TOY_PIN.encode() not in path.read_bytes(), path
    assert not [command for command in first_table if TOY_PIN in command.text + command.output]


def test_rejects_have_three_reasons(first_table: list[Command], tutorial: Path) -> None:
    """The example table has three rejects, each with a reason of its own that repeats no value."""
    shown = next(c.output for c in first_table if c.text == "python rejects.py")
    reasons = re.findall(r"^TD\d+ \d+ (.*)$", shown, re.MULTILINE)
    assert len(reasons) == len(set(reasons)) == 3
    [path] = (tutorial / "build" / "tutorial").glob("rejects-*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reasons"] for row in rows] == reasons
    assert {row["source"] for row in rows} == {"doses.csv"}
    values = {row[name] for row in rows for name in ("full_name", "birth_date", "vaccination_date")}
    assert not [value for value in values if value in shown]


def test_two_doses_of_one_person_are_one_credential(
    first_table: list[Command], tutorial: Path
) -> None:
    """Twelve doses of eleven people are eleven credentials; the one for two doses is the latest's."""
    folder = tutorial / "build" / "tutorial"
    texts = (folder / "credentials.txt").read_text("ascii").splitlines()
    payloads = [inspect(text).payload for text in texts]
    assert len(texts) == len({payload["v"][0]["ci"] for payload in payloads}) == 11
    [entry] = [p["v"][0] for p in payloads if p["nam"].get("gn") == "Thị Thí Dụ"]
    assert (entry["dn"], entry["sd"], entry["dt"]) == (3, 3, "2022-03-11")
    trust = TrustStore.load(folder / "trust", anchors=folder / "csca.pem")
    assert all(verify(text, trust) for text in texts)
    audit = json.loads((folder / "campaign" / "reports" / "audit.json").read_text("utf-8"))
    assert (audit["clean"], audit["verified"], audit["pending_rows"]) == (True, 11, 0)
    assert "<svg" in (folder / "progress.html").read_text("utf-8")


def test_readme_python_runs(tutorial: Path, first_credential: list[Command]) -> None:
    """The README's Python signs and verifies in the first tutorial's folder."""
    [(_, code)] = [b for b in blocks((ROOT / "README.md").read_text("utf-8")) if b[0] == "python"]
    folder = tutorial / "build" / "tutorial"
    environment = {
        **os.environ,
        "SOFTHSM2_CONF": str(folder / "softhsm2.conf"),
        "VAXPASS_PIN": TOY_PIN,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "True valid\n"), done.stderr


# --- the examples --------------------------------------------------------------------------


def test_example_record_is_the_shown_one() -> None:
    """The first tutorial shows examples/record.json as it is."""
    page = (DOCS / "tutorial" / "first-credential.md").read_text("utf-8")
    [shown] = [content for language, content in blocks(page) if language == "json"]
    assert json.loads(shown) == json.loads((ROOT / "examples/record.json").read_text("utf-8"))


def test_example_table_has_what_real_tables_have() -> None:
    """Both Unicode forms, a look-alike of Đ, one name, two-word family names, partial dates."""
    with (ROOT / "examples" / "doses.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["full_name"] for row in rows]
    assert set(rows[0]) <= COLUMNS
    assert len(rows) == 12
    assert any(name != unicodedata.normalize("NFC", name) for name in names)
    assert any("Đ" in name for name in names)
    assert any("Ð" in name for name in names)
    assert any(" " not in name for name in names)
    assert any(name.startswith("Tôn Nữ ") for name in names)
    assert {len(row["birth_date"]) for row in rows} == {4, 7, 10}
    assert any(row["dose_number"] == "3" for row in rows)


# --- the life of a record ------------------------------------------------------------------


def test_life_of_a_record_is_one_record() -> None:
    """Every byte string and size on the page is the shown credential's; the credential verifies."""
    page = (DOCS / "explanation" / "life-of-a-record.md").read_text("utf-8")
    text, pem = [content.strip() for language, content in blocks(page) if language == "text"]
    hcert = inspect(text)
    sign1, message = hcert.sign1, framing.unframe(text)
    stream = base45.decode(text[4:])
    compact = re.sub(r"\s", "", page)
    secret = bytes.fromhex(re.search(r"^secret +(\w{64})$", page, re.MULTILINE)[1])
    person = person_key(secret, "cccd", "019187000000")
    entry = hcert.payload["v"][0]
    uvci = derive_uvci(secret, "VN", person, entry["mp"], entry["dt"])
    assert uvci == entry["ci"]
    version = qr_version(len(text))
    for fact in (
        person.hex(),
        uvci,
        sign1.payload.hex(),
        sign1.signature.hex(),
        hashlib.sha256(sign1.sig_structure).hexdigest(),
        sign1.protected.hex(),
        f"4:{hcert.claims[4]}",
        f"6:{hcert.claims[6]}",
        f"payload,{len(sign1.payload)}bytes",
        f"{len(sign1.protected)}bytes:`{sign1.protected.hex()}`",
        f"Sig_structure(RFC9052§4.4),{len(sign1.sig_structure)}bytes",
        f"{len(message)}bytesthatbegin`{message[:8].hex()}`",
        f"11bytes:{len(stream)}",
        f"{stream[2:7].hex()}thelastblock,stored;itslength{len(message)}",
        f"{stream[-4:].hex()}itsAdler-32",
        f"{len(text) - 4}characters,andwith`HC1:`{len(text)}",
        f"version{version}holdsupto{QR_CAPACITY[version - 1]}",
        f"{17 + 4 * version}by{17 + 4 * version}modules",
    ):
        assert fact.replace(" ", "") in compact, fact
    assert cose.sig_structure(sign1.protected, sign1.payload).startswith(b"\x84\x6aSignature1\x4d")
    trust = TrustStore([Certificate.from_bytes(f"{pem}\n".encode())])
    at = datetime.fromtimestamp(hcert.claims[6], UTC) + timedelta(hours=4)
    assert verify(text, trust, at=at)


# --- the reference -------------------------------------------------------------------------


def test_every_reason_is_listed() -> None:
    """verdicts.md has a row for each reason, with its step, an explanation and what to do."""
    page = (DOCS / "reference" / "verdicts.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| [^|]{5,} \| [^|]{5,} \|$", page, re.MULTILINE)
    listed = {Reason(reason): Step(int(step)) for reason, step in rows}
    assert len(rows) == len(listed)
    assert listed == {reason: STEP_OF[reason] for reason in Reason}
    for item in NotChecked:
        assert f"| `{item}` |" in page


def test_every_fault_of_a_list_is_listed() -> None:
    """verdicts.md has a row for each code of a TrustError."""
    page = (DOCS / "reference" / "verdicts.md").read_text("utf-8")
    section = page[page.index("## Trust lists that are refused") :]
    section = section[: section.index("## In Python")]
    listed = re.findall(r"^\| `(\w+)` \| [^|]{5,} \| [^|]{5,} \|$", section, re.MULTILINE)
    assert sorted(listed) == sorted(TrustFault)


def test_every_column_of_verdicts_is_listed() -> None:
    """docs/reference/verdicts.md names the columns of `verify --out` and the names of `--json`."""
    page = (DOCS / "reference" / "verdicts.md").read_text("utf-8")
    part = page.partition("## As a line")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", part))
    verdict = verify("HC2:", TrustStore([]))
    assert {*VERDICT_COLUMNS, *verdict_object(verdict, "en"), "input", "line", "error"} <= named


def test_every_policy_is_explained() -> None:
    """policies.md shows each shipped policy as it is."""
    page = (DOCS / "reference" / "policies.md").read_text("utf-8")
    names = re.search(r"^\| what \| step \| (.*) \|$", page, re.MULTILINE)
    assert names
    assert re.findall(r"`(\w+)`", names[1]) == list(POLICIES)
    rows = re.findall(r"^\| `(\w+)`[^|]*\| \d+ \| (.*) \|$", page, re.MULTILINE)
    shown = {name: cells.split(" | ") for name, cells in rows}
    fields = {field.name for field in dataclasses.fields(Policy) if field.init} - {"name"}
    assert set(shown) == fields
    for name, cells in shown.items():
        values = [getattr(policy, name) for policy in POLICIES.values()]
        words = [f"{v.total_seconds():g} s" if isinstance(v, timedelta) else str(v) for v in values]
        assert cells == words


def test_each_statement_on_a_token_says_where_it_comes_from() -> None:
    """token-families.md: every row is tested, read, a note, or nothing known; each source is used."""
    page = (DOCS / "reference" / "token-families.md").read_text("utf-8")
    body, sources = page.split("\n## Sources\n")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", sources, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", body)}
    assert cited == set(numbers)
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+) \| ([^|]*)\|$", body, re.MULTILINE)
    assert len(rows) > 50
    for name, statement, origin in rows:
        known = re.search(r"\*(?:read|notes|tested here)\*", origin)
        assert known or "*nothing known*" in statement or name == "to set", name
        for source in re.findall(r"\*read\*(.{4})", origin):
            assert source.startswith(" ["), f"{name}: {origin}"


def test_every_column_is_listed() -> None:
    """dose-table.md names each column that has a meaning."""
    page = (DOCS / "reference" / "dose-table.md").read_text("utf-8")
    assert [name for name in sorted(COLUMNS) if f"`{name}`" not in page] == []


def test_command_line_is_the_programs() -> None:
    """command-line.md has each command's help, word for word; if not, this file writes it anew."""
    assert COMMAND_LINE.read_text("utf-8") == command_line_page(), (
        "the command line changed: run PYTHONPATH=tests python tests/docs/test_docs.py"
    )


INTRODUCTION = """\
# The command line

`vaxpass-sign` and `python -m vaxpass_sign` are the same program. This page is made from the
program's own help by `PYTHONPATH=tests python tests/docs/test_docs.py`.

## For all commands

**Exit codes.** 0: done, and for `verify` every credential is valid. 1: a payload was read and is not
valid (`verify`), is revoked (`revoke check`) or can't be decoded (`inspect`), or an audit found something.
2: nothing could be decided or done: no trust, an
unreadable file, a picture or PDF without a QR code, a wrong PIN, a wrong option. 130: stopped from the
keyboard.

**Output.** Results go to standard output, messages and progress to standard error. An error is one
line: what was found, what was expected, what to do.

**Payloads** are personal data, and arguments show in the list of processes: give a file, or `-` and
pipe it.

**Inputs** of `verify`, `inspect`, `revoke add` and `revoke check` are told apart by their first bytes, not
by their names, and come from files, pipes and `-` alike:

- *Text*: one payload a line.
- *Parquet* (`verify` alone, and no pipe): a column of payloads, `hc1` as a campaign's `signed/` has it, or
  the one that `--column` names. It needs the extra `batch`.
- *PNG, JPEG* (up to 32 MiB and 50 million pixels) and *PDF* (up to 64 MiB and 100 pages): every QR code
  that begins with `HC1:`, from top to bottom, each once in a picture or page. Other QR codes, as posters
  have them, are passed over, but where none begins with `HC1:` they are judged. A QR code that is seen and
  can't be read counts as undecided, so that nobody is missed on a sheet with several people. Of a PDF, pages
  without a QR code are passed over; in the output the place is `scan.pdf, page 3`, and `scan.pdf, page 3, QR
  code 2` where there are several. PDFs are drawn at 300 dpi, then at 600, in a process of its own that may
  take 1 GiB of memory and 60 seconds: a PDF that crashes or hangs the reader is an error of that file alone.
  One that needs a password is refused.
- *A folder* stands for its files, up to 100,000, in the order of their names, `2.png` before `10.png`;
  hidden files and subfolders are left out. Any file of it that can't be read, is of another kind, or is a
  text that does not begin as a payload does, is reported and counts as undecided; so is a symbolic link,
  for whoever may put files into a folder does not thereby decide what else is read.

Pictures and PDFs need the extra `qr`.

**PINs** come from a prompt, from the environment variable that `--pin-env` names, or from the file
that the URI's `pin-source` names; never from an argument. A PIN is sent once. The program takes the
variable out of its environment, so that no process that it starts inherits it; the environment that the
program itself was started with still shows it to its user and to root, as `ps e` does.

**Keys** are PKCS#11 URIs (RFC 7512), such as
`pkcs11:token=moh;object=dsc?module-path=/usr/lib/softhsm/libsofthsm2.so`, that match exactly one
token and one key, or PEM files. A URI takes `token`, `manufacturer`, `serial`, `model`, `object`, `id`,
`slot-id` and the like, and after the `?` `module-path`, `module-name` and `pin-source`. Anything else in
it is refused, `pin-value` too.

**Trust** is a folder or file of DSCs, a kept list ([its file](kept-list.md)), or a signed list with its
anchor. Left out, it is the folder `vaxpass-sign/trust` in the user's data folder, which on Linux is
`~/.local/share`.

**Revocation** is a store (`revoke import`), a stolen key's allow-list (`revoke key`), or a folder of such
`.vxrev` files. Left out, it is the folder `vaxpass-sign/revocation` beside the user's trust; without one,
`verify` lists `revocation` as not checked.

**Files that are written** are whole or not there at all. New files and folders are for their owner alone
(modes 0600 and 0700); whoever else shall read a kept list, a store or a table is given the right by
`chmod`, once: a file that takes the place of another has that one's mode.
"""


def command_line_page() -> str:
    """docs/reference/command-line.md, made from the program.

    From the commands themselves and not from their formatted help, whose layout changes with the
    release of typer.
    """
    parts = [INTRODUCTION]
    for name, command in commands_of_the_program():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(metavar, arguments)])
        parts += [f"## {name.removeprefix('vaxpass-sign ')}", f"```text\n{usage}\n```"]
        parts.append("\n\n".join(" ".join(p.split()) for p in command.help.split("\n\n")))
        rows = [(metavar(p), described(p)) for p in arguments]
        rows += [(spelled(p), described(p)) for p in options]
        if rows:
            lines = [
                "| `{}` | {} |".format(*(cell.replace("|", "\\|") for cell in row)) for row in rows
            ]
            parts.append("\n".join(["| | |", "|---|---|", *lines]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def commands_of_the_program() -> Iterator[tuple[str, Any]]:
    """(full name, command) of each command that is no group, in the order of the help."""
    import typer
    from typer.main import get_command

    from vaxpass_sign.cli.app import COMMANDS

    for name in COMMANDS:
        module = import_module(f"vaxpass_sign.cli.{name}")
        if hasattr(module, "command"):
            program = typer.Typer(add_completion=False, rich_markup_mode=None)
            program.command(name)(module.command)
        else:
            program = module.app
        command = get_command(program)
        for word, part in getattr(command, "commands", {"": command}).items():
            yield " ".join(["vaxpass-sign", name, word]).strip(), part


def metavar(parameter: Any) -> str:
    name: str = parameter.metavar or parameter.name.upper()
    return f"[{name}]..." if parameter.nargs == -1 and not name.startswith("[") else name


def spelled(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.metavar or 'N'}"


def described(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split())
    if parameter.required:
        text += " Required."
    elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        text += f" Default: {parameter.default}."
    return text


# --- links and commands --------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file or folder, and each anchor a heading."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name}: {target}"
        assert there.is_relative_to(ROOT), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings]


def test_readme_begins_with_the_two_commands() -> None:
    """README's first block has make demo and make test, and the Makefile has both."""
    readme = (ROOT / "README.md").read_text("utf-8")
    first = blocks(readme)[0][1].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    shown = set(re.findall(r"\bmake ([a-z][\w-]*)", "".join(c for _, c in blocks(readme))))
    assert shown <= set(targets)


def test_decisions_are_numbered() -> None:
    """Decisions count from 0001 without a gap; each has context, decision and consequences."""
    pages = sorted((DOCS / "decisions").glob("*.md"))
    for number, page in enumerate(pages, start=1):
        text = page.read_text("utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ], page.name


if __name__ == "__main__":
    COMMAND_LINE.write_text(command_line_page(), encoding="utf-8")
