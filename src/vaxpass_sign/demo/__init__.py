"""The whole way on a SoftHSM token made on the spot: ``vaxpass-sign demo DIR``.

Everything stays inside the one folder: the token, the table of doses, the secret, and a campaign
that is cleaned, signed by two processes, audited and reported as any other is. A demonstration
keeps the CSCA's and the DSC's keys on one token and their PIN in a file beside it; production never
does either. Needs Debian's softhsm2 and the extra ``all``.

SoftHSM reads where its tokens are from the environment when it is initialised: a process that is
using it already can't run a demonstration. The processes that sign are started with the same
environment. A script that runs a demonstration needs ``if __name__ == "__main__":``.

>>> run_demo("demo", people=0, progress=print)
Traceback (most recent call last):
vaxpass_sign.errors.InputError: people: found 0, expected 1 to 1000000
"""

from __future__ import annotations

from vaxpass_sign.demo.run import DemoReport, Progress, run_demo

__all__ = ["DemoReport", "Progress", "run_demo"]
