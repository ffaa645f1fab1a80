"""The server of the review: on loopback alone, for whoever has its token. What it is asked goes to `Reviewing`.

A page of another origin cannot ask anything: the name of the host must be loopback with our port, which a name that was
bound anew (DNS rebinding) is not; what a browser says of where a request comes from must be our own page; thumbnails
take a cookie, all else that says something of a run the token as well, in a header that no form can send. Cookies know
no ports: a browser sends ours to any server on 127.0.0.1 that it visits, and whoever runs that one may see thumbnails.
"""

import asyncio
import hmac
import ipaddress
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.cookies import CookieError
from typing import Any, Final
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.netutil
import tornado.web

from dupegrid.app.review.calls import WRITING, answer_call
from dupegrid.app.review.files import page_file
from dupegrid.app.review.originals import original
from dupegrid.app.review.reviewing import Reviewing
from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.core.text import printable
from dupegrid.results.drawn.page import RELATION_LABELS
from dupegrid.storage.words import REASONS, RULES

LOOPBACK: Final = "127.0.0.1"
MOST_BYTES: Final = 1 << 15  # of what is sent here
_TOKEN: Final = "X-Dupegrid-Token"
_WORKERS: Final = 4  # threads that answer
_READERS: Final = 4  # threads that read originals, which may lie where a read waits for long
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Server": "dupegrid",
}


class ReviewServer:
    """A server that has begun to listen; it answers in threads of its own until it is closed."""

    def __init__(self, reviewing: Reviewing, port: int = 0, read_only: bool = False) -> None:
        """UsageError where the port, 0 for any that is free, is taken."""
        if not isinstance(port, int) or not 0 <= port < 1 << 16:
            raise UsageError(f"port {port!r} is none: give 1 to 65535, or 0 for any that is free")
        self.token = secrets.token_urlsafe(32)
        self.cookie = secrets.token_urlsafe(32)
        self.reviewing, self.read_only = reviewing, read_only
        self.nonce = secrets.token_urlsafe(8)  # in the addresses of thumbnails: another run may be served here later
        self.pool = ThreadPoolExecutor(_WORKERS, "review")
        self.readers = ThreadPoolExecutor(_READERS, "review-originals")
        try:
            self._sockets = tornado.netutil.bind_sockets(port, LOOPBACK)
        except OSError as error:
            raise UsageError(f"cannot listen on port {port} ({error.strerror}): give --port another") from None
        self.port: int = self._sockets[0].getsockname()[1]
        self._loop, self._end, self._ended = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="review", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is, for you alone: with the token, after a #, which no browser sends on or names to others."""
        return f"http://{LOOPBACK}:{self.port}/#{self.token}"

    def wait(self) -> None:
        """Wait until it has been closed."""
        self._ended.wait()

    def stop(self) -> None:
        """Have the server end soon, also from the handler of a signal."""
        if not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._end.set)

    def close(self) -> None:
        """End the server; what was decided is on disk."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        given: dict[str, Any] = {"server": self}
        routes: list[Any] = [
            (r"/(|review\.js|review\.css)", Page, given),
            (r"/favicon.ico", Icon, given),
            (r"/session", Session, given),
            (r"/thumb/(\d{1,12})", Thumb, given),
            (r"/original/(\d{1,12})", Picture, given),
            (r"/(about|groups|pair|through|acceptable|totals|decide|accept|back|plan)", Call, given),
        ]
        settings: dict[str, Any] = {
            "log_function": lambda _: None,
            "default_handler_class": Nothing,
            "default_handler_args": given,
        }
        server = tornado.httpserver.HTTPServer(
            tornado.web.Application(routes, **settings),
            max_body_size=MOST_BYTES,
            max_buffer_size=4 * MOST_BYTES,
            max_header_size=MOST_BYTES,
            body_timeout=10.0,
            idle_connection_timeout=3600.0,
        )
        server.add_sockets(self._sockets)
        await self._end.wait()
        server.stop()
        await server.close_all_connections()
        for pool in (self.pool, self.readers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._ended.set()


def is_ours(host: str, port: int) -> bool:
    """Whether the Host of a request is loopback with our port."""
    try:
        parts = urlsplit(f"//{host}")
        name, asked = parts.hostname or "", parts.port
        if parts.username is not None or parts.path or parts.query or parts.fragment or asked != port:
            return False
        return name == "localhost" or ipaddress.ip_address(name) == ipaddress.ip_address(LOOPBACK)
    except ValueError:
        return False


class _Handler(tornado.web.RequestHandler):
    """What all answers have in common. Whatever is not asked for as it should be is refused, in a line of JSON."""

    SUPPORTED_METHODS = ("GET", "POST")
    needs_cookie = True
    needs_token = False  # what is posted always does

    def initialize(self, server: ReviewServer) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def check_etag_header(self) -> bool:
        return False

    def prepare(self) -> None:
        headers = self.request.headers
        if len(headers.get_list("Host")) != 1 or not is_ours(headers["Host"], self.server.port):
            raise tornado.web.HTTPError(421)
        if "Upgrade" in headers:
            raise tornado.web.HTTPError(403)
        if headers.get("Origin") not in (None, f"http://{headers['Host']}"):
            raise tornado.web.HTTPError(403)
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if site != "same-origin" and not self.may_be_opened_from_elsewhere():
            raise tornado.web.HTTPError(403)
        if self.needs_cookie and not _equal(self._cookie(), self.server.cookie):
            raise tornado.web.HTTPError(401)
        needs_token = self.needs_token or self.request.method == "POST"
        if needs_token and not _equal(headers.get(_TOKEN), self.server.token):
            raise tornado.web.HTTPError(401)

    def may_be_opened_from_elsewhere(self) -> bool:
        return False

    @property
    def cookie_name(self) -> str:
        return f"dupegrid-{self.server.port}"  # cookies know no ports, and there may be two reviews

    def _cookie(self) -> str | None:
        try:
            return self.get_cookie(self.cookie_name)
        except CookieError:
            return None

    async def answered(self, act: Callable[..., Any], *args: Any, pool: ThreadPoolExecutor | None = None) -> Any:
        """What a function gives, in a thread of the server's."""
        return await asyncio.get_running_loop().run_in_executor(pool or self.server.pool, act, *args)

    def say(self, answer: Mapping[str, Any]) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer, allow_nan=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        known = isinstance(error, DupegridError)
        if known:
            self.set_status(400 if isinstance(error, UsageError) else 500)
        self.say({"error": printable(str(error)) if known else self._reason})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, DupegridError | tornado.web.HTTPError):
            super().log_exception(typ, value, tb)


class Nothing(_Handler):
    """Every other address."""

    def prepare(self) -> None:
        super().prepare()
        raise tornado.web.HTTPError(404)


class Page(_Handler):
    """The page, its script and its style: they say nothing of a run."""

    needs_cookie = False

    def may_be_opened_from_elsewhere(self) -> bool:
        navigates = self.request.headers.get("Sec-Fetch-Mode") == "navigate"
        return self.request.path == "/" and navigates and self.request.headers.get("Sec-Fetch-Dest") == "document"

    def get(self, name: str) -> None:
        name = name or "review.html"
        kind = {"html": "text/html", "js": "text/javascript", "css": "text/css"}[name.rpartition(".")[2]]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(page_file(name))


class Icon(_Handler):
    """There is none."""

    needs_cookie = False

    def get(self) -> None:
        self.set_status(204)
        self.finish()


class Session(_Handler):
    """Swaps the token for the cookie."""

    needs_cookie = False

    def post(self) -> None:
        self.set_cookie(self.cookie_name, self.server.cookie, httponly=True, samesite="Strict", path="/")
        words = {"reason": REASONS, "rule": RULES, "relation": RELATION_LABELS}
        self.say({"read_only": self.server.read_only, "nonce": self.server.nonce, "words": words})


class Thumb(_Handler):
    """A thumbnail, by the id of its image."""

    async def get(self, id: str) -> None:
        data = await self.answered(self.server.reviewing.thumb, int(id))
        self.set_header("Content-Type", "image/jpeg")
        self.set_header("Cache-Control", "private, max-age=3600")
        self.finish(data)


class Picture(_Handler):
    """An original, by the id of its image."""

    needs_token = True

    async def get(self, id: str) -> None:
        reviewing = self.server.reviewing
        image = await self.answered(reviewing.picture, int(id))
        found = await self.answered(original, image, reviewing.run.config, pool=self.server.readers)
        if found.reason:  # not as an error, which a browser would write onto its console
            self.say({"error": printable(found.reason)})
            return
        self.set_header("Content-Type", found.kind)
        self.finish(found.data)


class Call(_Handler):
    """What the page asks of `Reviewing`, and has it write: a body of JSON, sent by POST."""

    async def post(self, name: str) -> None:
        if self.server.read_only and name in WRITING:
            raise UsageError("this review is read-only: start it without --read-only")
        try:
            given = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise tornado.web.HTTPError(400) from None
        self.say(await self.answered(answer_call, self.server.reviewing, name, given))


def _equal(given: str | None, known: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), known.encode())
