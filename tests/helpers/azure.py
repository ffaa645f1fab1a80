"""Containers of Azurite, Azure's own emulator, where it is installed: npm install -g azurite."""

import base64
import hashlib
import hmac
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Final

ACCOUNT: Final = "devstoreaccount1"
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # everybody's
PROGRAM: Final = shutil.which("azurite-blob")


@contextmanager
def server() -> Iterator[str]:
    """The address of the account on a server in a process of its own, which keeps all in memory."""
    assert PROGRAM
    options = ["--blobPort", "0", "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with subprocess.Popen([PROGRAM, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                if found := re.search(r"listens on (http://\S+)", line):
                    yield f"{found[1]}/{ACCOUNT}"
                    break
            else:
                raise AssertionError("Azurite did not start")
        finally:
            process.kill()


def environment(address: str) -> dict[str, str]:
    """The variables by which az:// leads to the server."""
    return {
        "AZURE_STORAGE_ENDPOINT": address,
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
    }


def make_container(address: str, name: str) -> None:
    """Make a container, by a request that is signed as Azure's "Authorize with Shared Key" says."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    said = "".join(f"{key}:{value}\n" for key, value in headers.items())
    text = "PUT" + "\n" * 12 + said + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signed}", "Content-Type": "", "Content-Length": "0"}
    url = f"{address}/{name}?restype=container"
    with urllib.request.urlopen(urllib.request.Request(url, b"", headers, method="PUT"), timeout=10):
        pass
