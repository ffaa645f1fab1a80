"""A bucket of its own on a server in this process, as S3 has them."""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dupegrid.storage.bucket import BucketPath, bucket_path, store_of


@contextmanager
def a_bucket() -> Iterator[BucketPath]:
    """A new bucket, where all that asks for s3:// finds it, in this process and those it starts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_REGION": "us-east-1",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        name = f"bucket-{uuid.uuid4().hex}"
        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1").create_bucket(
            Bucket=name
        )
        store_of.cache_clear()
        found = bucket_path(f"s3://{name}/some")
        assert found is not None
        try:
            yield found
        finally:
            store_of.cache_clear()
            server.stop()
