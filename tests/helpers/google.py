"""Buckets as Google's XML API has them, as far as a run asks: those of S3, with a generation for each object.

No package of a registry speaks that API, which obstore uses: gcp-storage-emulator lists in JSON only.
"""

import itertools
import json
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Generations:
    """A WSGI app in front of one that speaks S3: what is put is numbered, and may be put only onto a number."""

    def __init__(self, app: App) -> None:
        self._app, self._lock, self._count = app, threading.Lock(), itertools.count(1)
        self._of: dict[str, int] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, key, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
        wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        environ["HTTP_AUTHORIZATION"] = "somebody"  # obstore's requests to an emulator may be nobody's
        if "HTTP_X_GOOG_COPY_SOURCE" in environ:
            environ["HTTP_X_AMZ_COPY_SOURCE"] = environ["HTTP_X_GOOG_COPY_SOURCE"]
        with self._lock:
            if wanted is not None and int(wanted) != self._of.get(key, 0):
                return _refused(start, HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
            if method == "DELETE" and key not in self._of:  # S3 says nothing of it
                return _refused(start, HTTPStatus.NOT_FOUND, "NoSuchKey")
            said: list[Any] = []
            body = list(self._app(environ, lambda *facts: said.append(facts)))
            status, headers = said[0][:2]
            if status.startswith("2"):
                if method == "DELETE":
                    del self._of[key]
                elif (method == "PUT" and "partNumber" not in query) or (method == "POST" and "uploadId" in query):
                    self._of[key] = next(self._count)
            start(status, [*headers, ("x-goog-generation", str(self._of.get(key, 0)))])
        return body


def _refused(start: Callable[..., Any], status: HTTPStatus, code: str) -> list[bytes]:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>".encode()
    start(f"{status.value} {status.phrase}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@cache
def server() -> str:
    """The address of a server that goes on until this process ends."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Generations(create_backend_app("s3"))
    made = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{made.server_port}"


def environment() -> dict[str, str]:
    """The variables by which gs:// leads to the server; obstore asks nobody who we are."""
    facts = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    return {"GOOGLE_BASE_URL": server(), "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(facts)}


def make_bucket(name: str) -> None:
    """Make a bucket on the server."""
    with urllib.request.urlopen(urllib.request.Request(f"{server()}/{name}", method="PUT"), timeout=10):
        pass
