"""Servers on 127.0.0.1: one that answers with any bytes at all, well-formed or not, and a Redis."""

import contextlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Answer = Callable[[socket.socket, "RawServer"], None]

PATIENCE = 30.0
"""Seconds that a server waits for the end of a test at most."""


class RawServer(socketserver.ThreadingTCPServer):
    """Hands each connection, its request read and kept, to a function."""

    allow_reuse_address = True

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None) -> None:
        self.answer = answer
        self.tls = tls
        self.connections = 0
        self.requests: list[str] = []
        self.gave_up = False
        """Whether an answer ended because the server had enough, and not the client."""
        self.over = threading.Event()
        """Set when the test is over; what never answers waits for it."""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        return self.server_address[1]

    def url(self, path: str = "/a.jpg", *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def wait(self) -> None:
        """Do nothing until the test is over."""
        if not self.over.wait(PATIENCE):
            self.gave_up = True

    def handle_error(self, request, client_address) -> None:
        pass  # clients hang up on purpose; a fault in an answer fails its test by what it does not send


class _Handler(socketserver.BaseRequestHandler):
    server: RawServer

    def handle(self) -> None:
        self.server.connections += 1
        connection = self.request
        if self.server.tls:
            connection = self.server.tls.wrap_socket(connection, server_side=True)
        with contextlib.closing(connection):
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65_536)
                if not part:
                    return
                head += part
            self.server.requests.append(head.decode("latin-1"))
            self.server.answer(connection, self.server)


@contextlib.contextmanager
def serving(answer: Answer | bytes, *, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serve ``answer``, a function or the bytes to send, until the end of the block."""
    if isinstance(answer, bytes):
        data = answer

        def answer(connection: socket.socket, server: RawServer) -> None:
            connection.sendall(data)

    with RawServer(answer, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def response(body: bytes = b"", *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """Return an answer in HTTP/1.1, with a true Content-Length unless ``length`` says no."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + body


def redirect(location: str, *headers: str, status: str = "302 Found") -> bytes:
    return response(b"", f"Location: {location}", *headers, status=status)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        time.sleep(0.05)


class Redis:
    """A redis-server on a free port, whose data is in memory alone."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=self._folder, stdout=subprocess.DEVNULL)
        wait_for(lambda: self.ask("PING") == "+PONG", "Redis")

    def ask(self, command: str) -> str:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(f"{command}\r\n".encode())
            return client.recv(1000).decode().strip()
        return ""

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[Redis]:
    """Run a Redis until the end of the block; skip the test where there is no redis-server."""
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server on this machine")
    server = Redis(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
