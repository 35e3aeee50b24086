"""POST /verify: the text of a QR code in the body, a verdict as JSON out.

VAXPASS_TRUST names a folder or file of DSCs. VAXPASS_ANCHORS, one of CSCAs, and VAXPASS_REVOCATION,
one of revocation stores and allow-lists, may be left out.
"""

import asyncio
import contextlib
import logging
import os
import re
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from vaxpass_sign import TrustStore, VaxpassError, verify
from vaxpass_sign.check import Revocations
from vaxpass_sign.check.policy import EU
from vaxpass_sign.check.sentences import LANGUAGES, sentence

TRUST = [os.environ[name] for name in ("VAXPASS_TRUST", "VAXPASS_ANCHORS") if name in os.environ]
REVOCATION = [os.environ[name] for name in ("VAXPASS_REVOCATION",) if name in os.environ]
RELOAD_SECONDS = float(os.environ.get("VAXPASS_RELOAD_SECONDS", "10"))
MAX_BODY, BODY_SECONDS = 8192, 5  # no QR code holds more than 4,296 characters
PREFERENCE = re.compile(r"(?:^|,)\s*(\w+)[\w-]*\s*(?:;\s*q=([01]\.?\d*))?")  # RFC 9110, 12.5.4

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
log = logging.getLogger("verify")


def files(sources):
    paths = [p for s in map(Path, sources) for p in (sorted(s.iterdir()) if s.is_dir() else [s])]
    return [(str(p), s.st_ino, s.st_size, s.st_mtime) for p in paths for s in [p.stat()]]


def all_files():
    return files(TRUST), files(REVOCATION)


def load():
    before, store = all_files(), TrustStore.load(*TRUST)
    revocations = Revocations.open(REVOCATION)
    if all_files() != before:
        revocations.close()
        raise VaxpassError("the files changed while they were read")
    return store, revocations, before


async def reload(state):
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        try:
            if await asyncio.to_thread(all_files) != state.known[2]:
                new = await asyncio.to_thread(load)
                old, state.known = state.known, new  # one reference: all of it or nothing
                old[1].close()  # nobody is asking it: verify is never interrupted
                log.info("trust was reloaded: %d DSCs", len(state.known[0]))
            state.error = None
        except (VaxpassError, OSError) as error:
            state.error = str(error)
            log.error("trust was not reloaded, the last good one stays: %s", error)


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.known, app.state.error = load(), None  # no start without trust
    reloading = asyncio.create_task(reload(app.state))
    yield
    reloading.cancel()


def language(accept):
    wanted = {tag.lower(): float(q or 1) for tag, q in PREFERENCE.findall(accept)}
    return max(LANGUAGES, key=lambda known: wanted.get(known, 0))  # the first, unless asked for


def answer(status, **facts):
    return JSONResponse(facts, status, headers={"Cache-Control": "no-store"})


async def check(request: Request):
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    return answer(413, error=f"found more than {MAX_BODY} bytes")
        text = body.decode().rstrip("\r\n")
    except TimeoutError:
        return answer(408, error=f"the body did not come within {BODY_SECONDS} seconds")
    except (ClientDisconnect, UnicodeDecodeError):
        return answer(400, error="expected the text of a QR code, in UTF-8")
    store, revocations, _ = request.app.state.known
    verdict = verify(text, store, policy=EU, revocations=revocations)
    hcert = verdict.hcert
    log.info("%s kid=%s", verdict.reason, hcert and hcert.kid and hcert.kid[:8].hex())
    facts = {
        "valid": verdict.valid,
        "reason": verdict.reason,
        "step": verdict.step.name.lower(),
        "advice": sentence(verdict.reason, language(request.headers.get("accept-language", ""))),
        "not_checked": verdict.not_checked,
    }
    if verdict.valid:  # nothing else of it is to be believed, nor shown
        facts |= {"name": hcert.payload["nam"], "birth_date": hcert.payload["dob"]}
    return answer(200, **facts)


async def health(request: Request):
    store, revocations, (read, _) = request.app.state.known
    age = round(time.time() - max(modified for *_, modified in read))
    end = revocations.expiry()
    until = end and end.isoformat()
    error = request.app.state.error
    return answer(200, dscs=len(store), age_s=age, revocation_until=until, error=error)


ROUTES = [Route("/verify", check, methods=["POST"]), Route("/health", health)]
app = Starlette(routes=ROUTES, lifespan=lifespan)
