"""A process of its own that signs: ``worker.py URI COUNT``, with the PIN as a line on stdin.

It writes a line when its signer is open, a line for each signature (hex), and for an error its
class and message; then it exits with 2.
"""

from __future__ import annotations

import sys

from vaxpass_sign.errors import VaxpassError
from vaxpass_sign.keys.token_signer import Pkcs11Signer


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(uri: str, count: int) -> int:
    pin = sys.stdin.readline().rstrip("\n")
    try:
        with Pkcs11Signer(uri, pin) as signer:
            say("open")
            for number in range(count):
                say(signer.sign([str(number).encode()])[0].hex())
    except VaxpassError as error:
        say(f"{type(error).__name__}: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
