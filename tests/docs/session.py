"""Runs the blocks of a Markdown page as a reader would: in one shell, in order.

The shell has a terminal of its own, so that programs that ask for a PIN can ask, and are answered.
A ```python or ```toml block begins with a comment that names its file; it is saved there when its
turn comes.
A ```console block holds commands (``$ ``; a line that ends in a backslash goes on) and examples of
their output. Other blocks are not run.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"PIN[^\n]*: ?\Z")
PEOPLE = {
    re.compile(r"first person: ?\Z"): "N.V.A.",
    re.compile(r"second person: ?\Z"): "T.T.B.",
}
MARK = "\x1e"
SECONDS = 120


@dataclass(frozen=True)
class Command:
    """A command of a page, what the page shows of its output, and what it really did."""

    text: str
    shown: str
    output: str
    status: int


def blocks(markdown: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block."""
    return FENCE.findall(markdown)


def commands(console: str) -> list[tuple[str, str]]:
    """(command, shown output) of each command of a console block."""
    found: list[tuple[str, str]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def run_page(page: Path, directory: Path, answer: str) -> list[Command]:
    """Run a page's blocks in ``directory``; every prompt for a PIN gets ``answer``, those for two people's
    names the names of PEOPLE.
    """
    script: list[str] = []
    asked: list[tuple[str, str]] = []
    for language, content in blocks(page.read_text(encoding="utf-8")):
        if language in ("python", "toml"):
            name = re.match(r"# ([\w/]+\.(?:py|toml))\n", content)
            assert name, f"{page.name}: a {language} block does not begin with its file's name"
            script.append(f"cat > {name[1]} <<'END_OF_BLOCK'\n{content}END_OF_BLOCK\n")
        elif language == "console":
            for command, shown in commands(content):
                asked.append((command, shown))
                # The status is printed behind each command and kept for an `echo $?` to come.
                script.append(f"{command}\n_s=$?; printf '\\n{MARK}%d{MARK}\\n' $_s; (exit $_s)\n")
    path = directory / "session.sh"
    path.write_text("".join(script), encoding="utf-8")
    parts = re.split(f"\n{MARK}([0-9]+){MARK}\n", _run(path, directory, answer))
    assert len(parts) == 2 * len(asked) + 1, f"the shell stopped early: {parts[-1]}"
    return [
        Command(command, shown, parts[2 * n], int(parts[2 * n + 1]))
        for n, (command, shown) in enumerate(asked)
    ]


def _run(script: Path, directory: Path, answer: str) -> str:
    """What a script prints to its terminal."""
    ours, theirs = pty.openpty()
    programs = str(Path(sys.executable).parent)
    process = subprocess.Popen(
        # A session of its own takes the first terminal that it opens as its own, and programs that
        # ask for a PIN open /dev/tty.
        ["bash", "--norc", "-c", 'exec <"$0" && . "$1"', os.ttyname(theirs), str(script)],
        cwd=directory,
        env={
            **{name: value for name, value in os.environ.items() if name != "SOFTHSM2_CONF"},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "TERM": "dumb",
        },
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        return _converse(ours, answer)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def _converse(terminal: int, answer: str) -> str:
    seen, answered, until = b"", 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last process has closed the terminal
            return seen.decode().replace("\r\n", "\n")
        if not chunk:
            return seen.decode().replace("\r\n", "\n")
        seen += chunk
        unanswered = seen[answered:].decode(errors="ignore")
        for prompt, said in {PROMPT: answer, **PEOPLE}.items():
            if prompt.search(unanswered):
                answered = len(seen)
                os.write(terminal, f"{said}\n".encode())
    raise AssertionError(f"no end after {SECONDS} s: {seen[-500:]!r}")
