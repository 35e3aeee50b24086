"""Who runs this: what the ledger keeps of it.

>>> sorted(who())
['host', 'user']
"""

from __future__ import annotations

import getpass
import os
import socket

__all__ = ["who"]


def who() -> dict[str, str]:
    """The user and the host, as the system knows them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return {"user": user, "host": socket.gethostname()}
