"""``python -m vaxpass_sign``: the command line."""

from __future__ import annotations

from vaxpass_sign.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
