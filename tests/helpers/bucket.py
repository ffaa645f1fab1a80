"""Buckets on a server in this process, as S3 has them.

Its libraries take more than a second to load, and most processes of `make test` do without.
"""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from dupegrid.storage.bucket import BucketPath, bucket_path, store_of


@cache
def server() -> str:
    """The address of a server that goes on until this process ends.

    Of moto's S3 alone: what it puts in front asks of each request which service it is for, a third of the time.
    """
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    made = make_server("127.0.0.1", 0, create_backend_app("s3"), threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{made.server_port}"


@cache
def client() -> Any:
    """What asks the server for things as others would."""
    import boto3

    secrets = {"aws_access_key_id": "someone", "aws_secret_access_key": "something"}
    return boto3.client("s3", endpoint_url=server(), region_name="us-east-1", **secrets)


def environment() -> dict[str, str]:
    """The variables by which all that asks for s3:// finds the server."""
    return {
        "AWS_ENDPOINT_URL": server(),
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def a_bucket() -> Iterator[BucketPath]:
    """A place in a new bucket, where this process and those it starts find it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        name = f"bucket-{uuid.uuid4().hex}"
        client().create_bucket(Bucket=name)
        store_of.cache_clear()
        found = bucket_path(f"s3://{name}/some")
        assert found is not None
        try:
            yield found
        finally:
            store_of.cache_clear()
