"""The server of a study as a command: its address, the listeners' links, one server a study."""

import contextlib
import ipaddress
import socket
import sys
import urllib.parse

from musicgen_jax.listening import storage, study
from musicgen_jax.runtime import folder_lock
from musicgen_jax.runtime.errors import UserError

MAX_HEADER_BYTES = 16 << 10
MAX_CONNECTIONS = 2000


def serve(folder: str, host: str, port: int, url: str, num_listeners: int | None) -> None:
    """Serves a study until SIGINT or SIGTERM. Prints the listeners' links on stdout, a line each.

    Args:
      folder: of the study.
      host: address of this machine to listen on.
      port: 0 takes a free one.
      url: with which the links begin, where a proxy or a name of the machine is in front; "" is the address.
      num_listeners: links are made until there are so many; None makes none.

    Raises:
      UserError: no whole study, or one that is served already; an address or port that cannot be had; `url` is missing
        or none; the extra is not installed.
    """
    hosts = hosts_of(host, url)
    try:
        import uvicorn

        from musicgen_jax.listening import server
    except ModuleNotFoundError as error:
        raise UserError(f"the server needs {error.name}: pip install 'musicgen_jax[listen]'") from error
    found = study.read(folder)
    with folder_lock.hold(folder, "serving a listening test"):
        with contextlib.closing(storage.Database(folder)) as database:
            database.add_listeners(found, num_listeners or 0)
            tokens = [one.token for one in database.listeners()]
        listening = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        start = url.rstrip("/") or f"http://{shown}:{listening.getsockname()[1]}"
        app = server.application(folder, hosts)
        print("\n".join(f"{start}/s/{token}/" for token in tokens), flush=True)
        print(f"serving {folder}: {len(tokens)} links, one a listener; Ctrl-C ends it", file=sys.stderr, flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would hold the links
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=75,  # seconds: listeners listen, and then find their connection open
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise UserError(
            f"`port`={port} on {host} cannot be had ({error.strerror or error}): choose another one"
        ) from error


def hosts_of(host: str, url: str) -> list[str]:
    """Names that requests may have in their Host header. Raises UserError as `serve`."""
    if url:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UserError(f"`url`={url} is no address: write how links begin, such as https://listen.example.org")
        return [parts.hostname]
    if host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        return ["127.0.0.1", "localhost", "[::1]"]
    if _is_address(host) and not ipaddress.ip_address(host).is_unspecified:
        return [f"[{host}]" if ":" in host else host]
    raise UserError(
        f"`host`={host} without `url`: say how listeners reach this machine, such as `url`=http://192.168.1.5:8000"
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
