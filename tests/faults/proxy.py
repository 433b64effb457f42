"""An S3 server that fails on request: a proxy on loopback before the real one.

Every client of the product goes through it, Delta's own too, since it is only the endpoint that
the environment names. A rule says for each request what becomes of it; nothing is random here.
"""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

Fault = Literal["error", "unavailable", "slow down", "deny", "refuse", "lose", "hang"]
"""What a request meets in place of its reply.

``error``: 500; ``unavailable``: 503; ``slow down``: 503 by S3's name for too many requests;
``deny``: 403, as for a key that is there and may not be used;
``refuse``: the connection ends and nothing is done; ``lose``: it is done, and the connection ends;
``hang``: nothing comes, until the client gives up.
"""

ANSWERS = {
    "error": (500, "InternalError"),
    "unavailable": (503, "ServiceUnavailable"),
    "slow down": (503, "SlowDown"),
    "deny": (403, "AccessDenied"),
}

_HOP = ("connection", "expect", "transfer-encoding", "keep-alive")


class Request(NamedTuple):
    """A request: its verb (``LIST`` for a listing) and the key, or prefix, below the bucket."""

    verb: str
    key: str

    def general(self) -> Request:
        """Return it without what differs from one run to the next."""
        return Request(self.verb, re.sub("probe-[0-9a-f]+", "probe-*", self.key))


Rule = Callable[[Request], Fault | None]


class Proxy:
    """Passes requests on to a server, or does what its rule says; remembers all of them."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.rule: Rule = lambda request: None
        self.is_stale = False
        """Answer a listing as it was answered first while this was so."""
        self.listings: dict[str, tuple[http.client.HTTPResponse, bytes]] = {}
        self.seen: list[tuple[Request, Fault | None]] = []
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()

    def decide(self, request: Request) -> Fault | None:
        """Return what a request meets."""
        with self.lock:
            fault = self.rule(request)
            self.seen.append((request, fault))
            return fault

    def requests(self) -> list[Request]:
        """Return the requests so far."""
        return [request for request, _ in self.seen]


@contextmanager
def proxied(upstream: str) -> Generator[tuple[Proxy, str]]:
    """Give a proxy before a server, and its endpoint."""
    proxy = Proxy(upstream)

    class Handler(_Handler):
        pass

    Handler.proxy = proxy
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            for connection in list(proxy.connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Handles the requests of one connection, over one connection of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def setup(self) -> None:
        super().setup()
        self.proxy.connections.add(self.connection)
        self.server_side = http.client.HTTPConnection(self.proxy.upstream, timeout=60)

    def finish(self) -> None:
        self.server_side.close()
        self.proxy.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self) -> None:
        """Do one request, or let it meet its fault."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert "Transfer-Encoding" not in self.headers, "no client sends bodies of unknown length"
        request = _describe(self.command, self.path)
        fault = self.proxy.decide(request)
        if fault in ANSWERS:
            self.fail(*ANSWERS[fault])
        elif fault == "hang":
            self.close_connection = True
            self.connection.settimeout(60)
            with suppress(OSError):
                self.connection.recv(1)
        elif fault is not None:
            if fault == "lose":
                self.forward(body)
            self.close_connection = True
        elif self.proxy.is_stale and request.verb == "LIST":
            if self.path not in self.proxy.listings:
                self.proxy.listings[self.path] = self.forward(body)
            self.reply(*self.proxy.listings[self.path])
        else:
            self.reply(*self.forward(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Let the server do the request."""
        self.server_side.putrequest(
            self.command, self.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                self.server_side.putheader(name, value)
        self.server_side.endheaders(body)
        response = self.server_side.getresponse()
        return response, response.read()

    def reply(self, response: http.client.HTTPResponse, body: bytes) -> None:
        """Hand on what the server said."""
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            is_length = name.lower() == "content-length"
            if name.lower() not in _HOP and not (is_length and self.command != "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD" and response.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status: int, code: str) -> None:
        """Answer as S3 does that does not do what was asked."""
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())


def _describe(verb: str, path: str) -> Request:
    parts = urlsplit(path)
    _, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if verb == "GET" and not key:
        return Request("LIST", query.get("prefix", ""))
    return Request(verb, key)
