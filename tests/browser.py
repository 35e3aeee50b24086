"""A real browser without a window: Debian's chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--hide-scrollbars"),
)


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    dom: str
    """The document after every script and style, as HTML."""
    console: tuple[str, ...]
    """What the page logged; a blocked script or resource is among it."""

    @property
    def text(self) -> str:
        """The words of the page's body, without tags."""
        body = re.sub(r"<(style|script|title)\b.*?</\1>", "", self.dom, flags=re.DOTALL)
        return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def find_browser() -> str:
    """The browser; without one the test is skipped here, and fails where CI is set."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = "there is no browser (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def open_page(page: Path, work: Path) -> Seen:
    """Open a page and read what became of it."""
    done = _run(page, work, "--dump-dom")
    messages = re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)
    return Seen(done.stdout, tuple(messages))


def screenshot(
    page: Path, work: Path, *, width: int, height: int = 1000, dark: bool = False
) -> bytes:
    """A picture (PNG) of a page in a window of this size, for a reader who prefers light or dark."""
    picture = work / "page.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(page, work, scheme, f"--screenshot={picture}", f"--window-size={width},{height}")
    return picture.read_bytes()


def _run(page: Path, work: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [find_browser(), *FLAGS, f"--user-data-dir={work / 'browser'}", *flags]
    done = subprocess.run(
        [*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done
