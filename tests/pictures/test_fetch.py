import contextlib
import gzip
import logging
import queue
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from similar_products.pictures import fetch
from similar_products.pictures.fetch import _STRICT, _fetch, _Rules, fetch_picture
from similar_products.pictures.gate import ImageRejected, load_pixels
from tests.drawn_pictures import picture_bytes
from tests.fetch_table import DENIED_ADDRESSES, PUBLIC_ADDRESSES, REFUSED_URLS
from tests.servers import RawServer, redirect, response, serving

pytestmark = pytest.mark.network

HOST = "pictures.example"
PUBLIC = "93.184.216.34"
SOON = 0.3
"""Seconds of a limit that a test waits for."""


# What Python itself sees of every connection. A hook stays for the life of the process, so it looks away by default.


class Connections:
    """The addresses that sockets were connected to while a test watched; ``allowed`` ones alone get through."""

    def __init__(self) -> None:
        self.watching = False
        self.allowed: set[str] = set()
        self.asked: list[tuple[str, int]] = []

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.watching and event == "socket.connect":
            host, port, *_ = arguments[1]
            self.asked.append((host, port))
            if host not in self.allowed:
                raise ConnectionRefusedError(f"The test lets nobody connect to {host}.")


hook = Connections()
sys.addaudithook(hook)


@pytest.fixture(autouse=True)
def connections():
    """Return where sockets were connected to; none leave this machine."""
    hook.asked, hook.allowed, hook.watching = [], {"127.0.0.1"}, True
    yield hook.asked
    hook.watching = False


@pytest.fixture(autouse=True)
def resolver(monkeypatch):
    """Stand for DNS: return a dict from a name to its addresses, a function that gives them, or an error to raise.

    Odd spellings of addresses are understood as ``inet_aton`` does; names that nobody entered are at 127.0.0.1,
    or in public with "pictures" in them.
    """
    getaddrinfo = socket.getaddrinfo
    names = {HOST: [PUBLIC]}

    def resolve(host, port, *args, **kwargs):
        name = host.removesuffix(".")
        try:
            return getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            addresses = names.get(name, [PUBLIC] if "pictures" in name else ["127.0.0.1"])
        if callable(addresses):
            addresses = addresses()
        if isinstance(addresses, Exception):
            raise addresses
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


@pytest.fixture
def _here(resolver):
    """Put pictures.example on this machine."""
    resolver[HOST] = ["127.0.0.1"]


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "similar_products.pictures.fetch")


@pytest.fixture
def _on(settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": True}


@pytest.fixture
def reason(caplog):
    """Return a function that gives why the last fetch failed, which the log alone knows."""

    def last() -> str:
        return caplog.messages[-1].partition(": ")[2]

    return last


def local(*servers: RawServer, **changes) -> _Rules:
    """Return the rules but for this: the ports of ``servers`` are allowed, and 127.0.0.1 alone is public."""
    ports = frozenset(server.port for server in servers)
    here = {"ports": {"http": ports, "https": ports}, "is_public": lambda address: str(address) == "127.0.0.1"}
    return replace(_STRICT, **{**here, **changes})


def refuse(url: str, rules: _Rules | None = None) -> None:
    """Assert that nothing is fetched, and that who asked learns nothing but that."""
    with pytest.raises(ImageRejected) as caught:
        fetch_picture(url) if rules is None else _fetch(url, rules)
    error = caught.value
    assert (error.code, str(error)) == (
        "url_not_fetched",
        "No picture could be fetched from this URL; save the picture and send the file.",
    )
    assert error.args == (str(error),)
    assert error.__cause__ is None
    assert error.__suppress_context__


# The switch.


def test_fetch_picture__is_off_until_switched_on(connections):
    with pytest.raises(ImageRejected) as caught:
        fetch_picture(f"http://{HOST}/a.jpg")
    assert caught.value.code == "url_search_off"
    assert str(caught.value) == "This shop does not search by URL; save the picture and send the file."
    assert connections == []


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("package", ["certifi", "urllib3"])
def test_fetch_picture__names_the_extra_where_a_package_is_missing(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImproperlyConfigured) as caught:
        fetch_picture(f"http://{HOST}/a.jpg")
    assert str(caught.value) == (
        "SIMILAR_PRODUCTS['FETCH_URLS'] is on, which needs the packages certifi and urllib3 2.6.3 or later: run pip "
        "install 'django-similar-products[url-search]'."
    )


@pytest.mark.usefixtures("_on")
def test_e017__packages_of_the_search_by_url_are_missing(monkeypatch):
    assert run_checks(tags=["similar_products"]) == []
    monkeypatch.setattr(fetch, "version", lambda package: "2.6.2")
    (message,) = run_checks(tags=["similar_products"])
    assert message.id == "similar_products.E017"
    assert message.msg == (
        "SIMILAR_PRODUCTS['FETCH_URLS'] is on, which needs the packages certifi and urllib3 2.6.3 or later."
    )
    assert message.hint == "Run: pip install 'django-similar-products[url-search]'"


def test_e017__is_silent_where_the_switch_is_off_or_a_mistake(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "urllib3", None)
    assert run_checks(tags=["similar_products"]) == []
    settings.SIMILAR_PRODUCTS = {"FETCH_URLS": "yes"}
    assert [message.id for message in run_checks(tags=["similar_products"])] == ["similar_products.E005"]


def test_extra__has_the_versions_that_are_asked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert "urllib3>=2.6.3" in project["optional-dependencies"]["url-search"]
    assert fetch._URLLIB3 == (2, 6, 3)


def test_rules__are_those_that_are_promised():
    assert _STRICT.ports == {"http": {80}, "https": {443}}
    assert (_STRICT.connect_seconds, _STRICT.total_seconds, _STRICT.max_redirects) == (3, 10, 3)
    assert _STRICT.max_bytes == 10 * 1024 * 1024


# Where to.


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("url", REFUSED_URLS)
def test_url__is_refused(connections, url):
    refuse(url)
    assert connections == []


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("value", [None, b"http://pictures.example/", 7, ["http://pictures.example/"]])
def test_url__of_another_type_is_refused(connections, value):
    refuse(value)
    assert connections == []


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("address", DENIED_ADDRESSES)
def test_address__is_denied_to_a_name_and_by_itself(connections, resolver, reason, address, scheme):
    resolver[HOST] = [address]
    refuse(f"{scheme}://{HOST}/a.jpg")
    assert reason().endswith("which is not public")
    refuse(f"{scheme}://[{address}]/a.jpg" if ":" in address else f"{scheme}://{address}/a.jpg")
    assert connections == []


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("addresses", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC] * 9 + ["::1"]])
def test_address__one_that_is_denied_denies_them_all(connections, resolver, addresses):
    resolver[HOST] = addresses
    refuse(f"http://{HOST}/a.jpg")
    assert connections == []


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_address__that_is_public_is_connected_to(connections, resolver, address):
    resolver[HOST] = [address]
    refuse(f"https://{HOST}/a.jpg")  # as no test leaves this machine
    assert [(str(ip_address(host)), port) for host, port in connections] == [(address, 443)]


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize(
    "url", [f"http://{PUBLIC}/a.jpg", f"HTTP://{HOST.upper()}.:80/ä?b=ü", f"http://{HOST}//a.jpg", f"http://{HOST}?a#b"]
)
def test_url__of_a_public_server_is_connected_to(connections, url):
    refuse(url)
    assert connections == [(PUBLIC, 80)]


@pytest.mark.usefixtures("_on")
def test_resolver__that_flips_is_asked_once(connections, resolver):
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    resolver[HOST] = lambda: next(answers)
    refuse(f"http://{HOST}/a.jpg")
    assert connections == [(PUBLIC, 80)]
    assert next(answers) == ["127.0.0.1"]


def test_resolver__that_flips_is_checked_again_after_a_redirect(connections, resolver, reason):
    with serving(redirect("/b.jpg")) as server:
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        resolver[HOST] = lambda: next(answers)
        refuse(server.url(host=HOST), local(server))
        assert connections == [("127.0.0.1", server.port)]
    assert reason() == f"{HOST} is at 127.0.0.2, which is not public"


@pytest.mark.parametrize("found", [[], socket.gaierror(-2, "Name or service not known"), UnicodeError("label"), ["x"]])
def test_resolver__without_an_answer(connections, resolver, found):
    resolver[HOST] = found
    refuse(f"http://{HOST}/a.jpg", _STRICT)
    assert connections == []


def test_resolver__is_asked_for_the_full_name_whatever_the_search_list(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: asked.append(host) or [])
    refuse("http://Cache.Svc/a.jpg", _STRICT)
    refuse("http://cache.svc./a.jpg", _STRICT)
    assert asked == ["cache.svc.", "cache.svc."]


def test_resolver__that_never_answers_is_left_alone_in_time(connections, resolver, reason):
    over = threading.Event()
    resolver[HOST] = lambda: over.wait(30) and [PUBLIC]
    refuse(f"http://{HOST}/a.jpg", replace(_STRICT, total_seconds=SOON))
    assert not over.is_set()
    assert reason() == f"the look-up of {HOST} takes too long"
    over.set()
    assert connections == []


def test_resolver__is_asked_by_so_many_at_once_and_no_more(resolver, reason, monkeypatch):
    monkeypatch.setattr(fetch, "_lookups", threading.BoundedSemaphore(1))
    asked, over, answered = threading.Event(), threading.Event(), queue.SimpleQueue()

    def answer():
        asked.set()
        over.wait(30)
        answered.put(True)
        return ["10.0.0.1"]

    resolver[HOST] = answer
    first = threading.Thread(target=refuse, args=(f"http://{HOST}/a.jpg", _STRICT))
    first.start()
    assert asked.wait(30)
    refuse(f"http://{HOST}/a.jpg", _STRICT)
    assert reason() == "32 look-ups of names have not ended yet"
    over.set()
    first.join()
    assert answered.qsize() == 1
    refuse(f"http://{HOST}/a.jpg", _STRICT)
    assert reason() == f"{HOST} is at 10.0.0.1, which is not public"


def test_resolver__without_a_thread_leaves_its_place(monkeypatch, reason):
    monkeypatch.setattr(fetch, "_lookups", threading.BoundedSemaphore(1))

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):
        refuse(f"http://{HOST}/a.jpg", _STRICT)
        assert reason().startswith("RuntimeError: ")


# The way there and back.


@pytest.mark.usefixtures("_here")
def test_picture__lands_and_passes_the_gate(connections):
    jpeg = picture_bytes("red", "blue", format="JPEG")
    with serving(response(jpeg, "Content-Type: text/html", "Content-Encoding: identity")) as server:
        data = _fetch(server.url("/shop/a b.jpg?size=1".replace(" ", "%20"), host=HOST), local(server))
        assert connections == [("127.0.0.1", server.port)]
    assert data == jpeg
    assert load_pixels(data, 32, public=True).shape == (32, 32, 3)
    (request,) = server.requests
    assert request.startswith(f"GET /shop/a%20b.jpg?size=1 HTTP/1.1\r\nHost: {HOST}:{server.port}\r\n")
    names = {line.partition(":")[0] for line in request.splitlines()[1:] if line}
    assert names == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert "\r\nAccept-Encoding: identity\r\n" in request


@pytest.mark.parametrize(
    "answer",
    [
        response(b"picture"),
        response(b"picture", "Content-Length: 7"),  # twice the same
        response(b"picture", length=False),  # until the end of the connection
        b"HTTP/1.0 200 OK\r\n\r\npicture",
        response(b"3\r\npic\r\n4;more\r\nture\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
        response(b"picture and more than was said", "Content-Length: 7", length=False),
    ],
)
def test_body__is_as_long_as_it_says(answer):
    with serving(answer) as server:
        assert _fetch(server.url(), local(server)) == b"picture"


def test_path__beyond_ascii_is_encoded():
    with serving(response(b"picture")) as server:
        _fetch(server.url("/bücher/ä.jpg?größe=ü#x"), local(server))
    assert server.requests[0].startswith("GET /b%C3%BCcher/%C3%A4.jpg?gr%C3%B6%C3%9Fe=%C3%BC HTTP/1.1\r\n")


def test_addresses__are_tried_in_turn(connections, resolver):
    with serving(response(b"picture")) as server:
        resolver[HOST] = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        rules = local(server, is_public=lambda address: address.is_loopback)
        assert _fetch(server.url(host=HOST), rules) == b"picture"
        assert [host for host, _ in connections] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]


def test_addresses__of_a_long_list_are_not_all_tried(connections, resolver):
    resolver[HOST] = [f"93.184.216.{number}" for number in range(1, 100)]
    refuse(f"http://{HOST}/a.jpg", _STRICT)
    assert len(connections) == 4


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect__is_followed(status):
    def answer(connection, server):
        steps = [
            redirect("/b.jpg", status=f"{status} Moved"),
            redirect(f"//127.0.0.1:{server.port}/ü.jpg".encode().decode("latin-1"), status=f"{status} Moved"),
            redirect("?d", "Set-Cookie: seen=1", status=f"{status} Moved"),
            response(b"picture"),
        ]
        connection.sendall(steps[len(server.requests) - 1])

    with serving(answer) as server:
        assert _fetch(server.url(), local(server)) == b"picture"
    lines = [request.split(" HTTP")[0] for request in server.requests]
    assert lines == ["GET /a.jpg", "GET /b.jpg", "GET /%C3%BC.jpg", "GET /%C3%BC.jpg?d"]
    assert "ookie" not in "".join(server.requests)


def test_redirect__more_than_three_times(reason):
    with serving(redirect("/a.jpg")) as server:
        refuse(server.url(), local(server))
    assert server.connections == 4
    assert reason() == "it redirects more than 3 times"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://localhost:{port}/",
        "http://inside.example:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "//127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254:{port}/latest/meta-data/",
        "http://metadata.google.internal:{port}/",
        "http://127.0.0.1:{other}/",
        "http://127.0.0.1/",
        "http://user:password@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@127.0.0.2/",
        "\\\\127.0.0.2:{port}\\",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/",
        "data:image/png;base64,iVBORw0KGgo=",
        "/a.jpg\tb",
        "/\xff.jpg",
        "/" + "a" * 3_000,
    ],
)
def test_redirect__elsewhere_is_refused(connections, resolver, location):
    resolver["inside.example"] = ["10.0.0.1"]
    resolver["metadata.google.internal"] = ["169.254.169.254"]
    with serving(response(b"secret")) as other:

        def answer(connection, server):
            connection.sendall(redirect(location.format(port=server.port, other=other.port)))

        with serving(answer) as server:
            refuse(server.url(), local(server))
            assert connections == [("127.0.0.1", server.port)]
        assert other.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        response(status="302 Found"),
        redirect("/b.jpg", "Location: /c.jpg"),
        redirect("/b.jpg", status="300 Multiple Choices"),
        redirect("/b.jpg", status="304 Not Modified"),
        redirect("/b.jpg", status="201 Created"),
    ],
)
def test_redirect__that_is_none_is_refused(answer):
    with serving(answer) as server:
        refuse(server.url(), local(server))
    assert server.connections == 1


def test_redirect__body_is_not_read():
    def answer(connection, server):
        if len(server.requests) == 2:
            connection.sendall(response(b"picture"))
            return
        head = "HTTP/1.1 302 Found\r\nLocation: /b.jpg\r\nContent-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n"
        connection.sendall(head.encode() + gzip.compress(bytes(1_000)))
        server.wait()

    with serving(answer) as server:
        assert _fetch(server.url(), local(server, max_bytes=10_000)) == b"picture"


@pytest.mark.usefixtures("_here")
def test_redirect__from_https_to_http_is_refused(certificate, reason):
    with (
        serving(response(b"picture")) as plain,
        serving(redirect(plain.url(host=HOST)), tls=certificate.server) as server,
    ):
        refuse(server.url(host=HOST), local(server, plain, tls=certificate.client))
        assert plain.connections == 0
        assert reason() == f"it redirects from https to http on {HOST}"


@pytest.mark.usefixtures("_here")
def test_redirect__from_http_to_https_is_followed(certificate):
    with (
        serving(response(b"picture"), tls=certificate.server) as server,
        serving(redirect(server.url(host=HOST))) as plain,
    ):
        assert _fetch(plain.url(host=HOST), local(server, plain, tls=certificate.client)) == b"picture"


# Servers that mean ill.


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"picture",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1",
        b"HTTP/1.1 200",
        b"HTTP/1.1 2OO OK\r\n\r\npicture",
        b"HTTP/9.9 200 OK\r\n\r\n"[:-2],
        response(b"picture", status="206 Partial Content"),
        response(b"picture", status="404 Not Found"),
        response(b"picture", status="500 Internal Server Error"),
        response(status="204 No Content"),
        response(),
        response(b"picture", "Content-Length: 8", length=False),
        response(b"picture", "Content-Length: 70000", length=False),
        response(b"picture", "Content-Length: 8"),
        response(b"picture", "Content-Length: -1", length=False),
        response(b"picture", "Content-Length: 7, 7", length=False),
        response(b"picture", "Content-Length: 0x7", length=False),
        response(b"picture", "Content-Length: seven", length=False),
        response(b"picture", "Content-Length: \xb2", length=False),
        response(b"picture", "Content-Length: " + "9" * 5_000, length=False),
        response(b"picture", "Content-Length: 10485761", length=False),
        response(gzip.compress(b"picture"), "Content-Encoding: gzip"),
        response(gzip.compress(b"picture"), "Content-Encoding: identity, gzip"),
        response(gzip.compress(b"picture"), "Content-Encoding: identity", "Content-Encoding: gzip"),
        response(b"picture", "Content-Encoding: br"),
        response(b"picture", "Content-Encoding: zstd"),
        response(b"picture", "Content-Encoding: aes128gcm"),
        response(b"picture", "Transfer-Encoding: gzip, chunked", length=False),
        response(b"picture", "Transfer-Encoding: identity", length=False),
        response(b"ff\r\npicture", "Transfer-Encoding: chunked", length=False),
        response(b"x\r\npicture\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
        response(b"-7\r\npicture\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
        response(b"7\r\npicture\r\n", "Transfer-Encoding: chunked", length=False),
        response(b"picture", *[f"X-{number}: x" for number in range(200)]),
        response(b"picture", "X: " + "x" * 70_000),
    ],
)
def test_answer__that_is_no_picture_is_refused(answer):
    with serving(answer) as server:
        refuse(server.url(), local(server))


def test_bomb__is_not_unpacked():
    bomb = gzip.compress(bytes(50_000_000))
    with serving(response(bomb, "Content-Encoding: gzip")) as server:
        refuse(server.url(), local(server))


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (HEAD + b"\r\n", b"x" * 65_536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n7\r\npicture\r\n0\r\n", b"X: more\r\n" * 10_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    ],
    ids=["body", "chunks", "small chunks", "trailers", "continue"],
)
def test_endless__answer_is_cut(reason, head, part):
    def answer(connection, server):
        connection.sendall(head)
        for _ in range(4_000):
            connection.sendall(part)
        server.gave_up = True

    with serving(answer) as server:
        refuse(server.url(), local(server, max_bytes=500_000, total_seconds=60))
    assert not server.gave_up
    assert reason() == "it sends more than 500,000 bytes"


def test_endless__body_is_cut_at_ten_megabytes(reason):
    def answer(connection, server):
        connection.sendall(HEAD + b"\r\n")
        for _ in range(4_000):
            connection.sendall(b"x" * 65_536)
        server.gave_up = True

    with serving(answer) as server:
        refuse(server.url(), local(server, total_seconds=60))
    assert not server.gave_up
    assert reason() == "it sends more than 10,485,760 bytes"


def test_endless__header_line_is_cut():
    def answer(connection, server):
        connection.sendall(HEAD + b"X: ")
        for _ in range(4_000):
            connection.sendall(b"x" * 65_536)
        server.gave_up = True

    with serving(answer) as server:
        refuse(server.url(), local(server))
    assert not server.gave_up


def test_bytes__are_counted_on_the_wire_and_over_all_redirects():
    first, second = redirect("/b.jpg"), response(b"picture")

    def answer(connection, server):
        connection.sendall(first if len(server.requests) % 2 else second)

    with serving(answer) as server:
        exactly = len(first) + len(second)
        assert _fetch(server.url(), local(server, max_bytes=exactly)) == b"picture"
        refuse(server.url(), local(server, max_bytes=exactly - 1))


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (HEAD + b"Content-Length: 600\r\n\r\n", b"x"),
        (HEAD + b"\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD + b"X: ", b"x"),
        (HEAD, b"X: x\r\n"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b""),
    ],
    ids=["body", "body without length", "chunks", "header line", "headers", "status line", "continue", "nothing"],
)
def test_drip__ends_with_the_time_of_the_whole_fetch(head, drop):
    def answer(connection, server):
        connection.sendall(head)
        for _ in range(600):  # which is far more time than each single read may take
            if server.over.wait(0.05):
                return
            connection.sendall(drop)
        server.gave_up = True

    with serving(answer) as server:
        refuse(server.url(), local(server, total_seconds=SOON))
        assert not server.gave_up


def test_time__is_counted_over_all_redirects(reason):
    def answer(connection, server):
        server.over.wait(SOON / 2)
        connection.sendall(redirect("/a.jpg"))

    with serving(answer) as server:
        refuse(server.url(), local(server, total_seconds=SOON, max_redirects=1_000))
    assert server.connections < 100
    assert "redirects" not in reason()


@pytest.mark.parametrize("host", [HOST, PUBLIC])
def test_time__that_is_over_is_over_before_anything_is_sent(connections, reason, host):
    refuse(f"http://{host}/a.jpg", replace(_STRICT, total_seconds=0))
    assert reason() == "it takes too long"
    assert connections == []


@contextlib.contextmanager
def deaf(address: tuple[str, int]):
    """Listen at ``address`` and never accept, so that connecting to it takes for ever; yield the port."""
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(address, backlog=0))
        except OSError:
            pytest.skip(f"This system has no address {address[0]}.")
        for _ in range(20):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(SOON)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("This system completes connections that nobody accepts.")
        yield listener.getsockname()[1]


def test_connection__that_is_never_accepted_ends_in_time(reason):
    with deaf(("127.0.0.1", 0)) as port:
        rules = local(connect_seconds=SOON, ports={"http": frozenset({port})})
        refuse(f"http://127.0.0.1:{port}/a.jpg", rules)
    assert reason().startswith("TimeoutError: ")


def test_connection__that_is_never_accepted_leaves_time_for_the_next_address(resolver):
    resolver[HOST] = ["127.0.0.2", "127.0.0.1"]
    hook.allowed.add("127.0.0.2")
    with serving(response(b"picture")) as server, deaf(("127.0.0.2", server.port)):
        rules = local(server, connect_seconds=4 * SOON, is_public=lambda address: address.is_loopback)
        assert _fetch(server.url(host=HOST), rules) == b"picture"


def test_connection__that_is_refused():
    with serving(b"") as server:
        rules = local(server)
    refuse(server.url(), rules)


# TLS.


class Certificate:
    """A certificate of pictures.example that signs itself."""

    def __init__(self, folder: Path) -> None:
        self.path, key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", key, "-out", self.path, "-days", "2"),
                *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
            ],
            check=True,
            capture_output=True,
        )
        self.asked_for: list[str | None] = []
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.path, key)
        self.server.sni_callback = lambda sock, name, context: self.asked_for.append(name)

    def client(self) -> ssl.SSLContext:
        """Return a context as ours is, but for trusting this certificate alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Certificate:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.usefixtures("_here")
def test_tls__without_certificates_leaves_no_socket_open(reason):
    def context() -> ssl.SSLContext:
        raise LookupError("no file of certificates")

    with serving(b"") as server:
        refuse(server.url(host=HOST).replace("http:", "https:"), local(server, tls=context))
    assert reason() == "LookupError: 'no file of certificates'"


@pytest.mark.usefixtures("_here")
def test_tls__asks_for_the_name_and_verifies_it(certificate, connections):
    certificate.asked_for.clear()
    with serving(response(b"picture"), tls=certificate.server) as server:
        assert _fetch(server.url(host=HOST), local(server, tls=certificate.client)) == b"picture"
        assert connections == [("127.0.0.1", server.port)]
    assert certificate.asked_for == [HOST]
    assert f"\r\nHost: {HOST}:{server.port}\r\n" in server.requests[0]


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1", "a.pictures.example"])
def test_tls__of_another_name_is_refused(certificate, resolver, reason, host):
    resolver[host] = ["127.0.0.1"]
    with serving(response(b"picture"), tls=certificate.server) as server:
        refuse(server.url(host=host), local(server, tls=certificate.client))
    assert reason().startswith("SSLCertVerificationError: ")
    assert server.requests == []


@pytest.mark.usefixtures("_here")
def test_tls__that_nobody_signed_is_refused_whatever_the_environment_says(certificate, monkeypatch, reason):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(certificate.path))
    fetch._tls.cache_clear()
    with serving(response(b"picture"), tls=certificate.server) as server:
        refuse(server.url(host=HOST), local(server))
    assert reason().startswith("SSLCertVerificationError: ")
    assert server.requests == []


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("sent", "seconds", "said"),
    [
        (b"", SOON, "TimeoutError: "),
        (b"\x16", SOON, "TimeoutError: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 10, "SSLError: "),
        (b"\x15\x03\x03\x00\x02\x02\x28", 10, "SSLError: "),  # an alert: the handshake has failed
    ],
)
def test_tls__handshake_that_fails_or_never_ends(reason, sent, seconds, said):
    def accept(listener, over):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(sent)
            over.wait(30)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=accept, args=(listener, over))
        thread.start()
        port = listener.getsockname()[1]
        refuse(f"https://{HOST}:{port}/a.jpg", local(ports={"https": frozenset({port})}, total_seconds=seconds))
        assert not over.is_set()
        over.set()
        thread.join()
    assert reason().startswith(said)


@pytest.mark.usefixtures("_here")
def test_tls__drip_and_endless_body_end_as_well(certificate, reason):
    def drip(connection, server):
        connection.sendall(HEAD + b"\r\n")
        while not server.over.wait(0.05):
            connection.sendall(b"x")

    def flood(connection, server):
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with serving(drip, tls=certificate.server) as server:
        refuse(server.url(host=HOST), local(server, tls=certificate.client, total_seconds=1.0))
        assert not server.gave_up
    with serving(flood, tls=certificate.server) as server:
        refuse(server.url(host=HOST), local(server, tls=certificate.client, max_bytes=1_000_000, total_seconds=60))
    assert reason() == "it sends more than 1,000,000 bytes"


# What stays out of it.


@pytest.mark.usefixtures("_here")
def test_environment__has_no_say(monkeypatch, tmp_path, connections):
    (tmp_path / ".netrc").write_text("default login tom password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(response(b"trap")) as trap, serving(response(b"picture", "Set-Cookie: seen=1")) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, trap.url("/"))
            monkeypatch.setenv(name.lower(), trap.url("/"))
        for _ in range(2):
            assert _fetch(server.url(host=HOST), local(server)) == b"picture"
        assert connections == [("127.0.0.1", server.port)] * 2
        assert trap.connections == 0
    assert not re.search("authorization|cookie", "".join(server.requests), re.IGNORECASE)


# The log.


@pytest.mark.usefixtures("_on")
def test_log__warns_of_who_asks_for_the_inside(caplog, resolver):
    resolver[HOST] = ["169.254.169.254"]
    refuse(f"http://{HOST}/a.jpg?token=secret#secret")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("similar_products.pictures.fetch", "WARNING")
    assert record.getMessage() == (
        "No picture from 'http://pictures.example/a.jpg': pictures.example is at 169.254.169.254, which is not public"
    )


def test_log__tells_of_other_failures(caplog):
    with serving(response(b"secret body", status="404 Not Found")) as server:
        refuse(server.url(), local(server))
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == f"No picture from '{server.url()}': the server answers 404"


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize("url", ["http://tom:secret@pictures.example/\r\nFake: line", "http://x/" + "ü" * 5_000, 7])
def test_log__is_one_short_line_without_secrets(caplog, url):
    refuse(url)
    (message,) = caplog.messages
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 400
    assert "secret" not in message


def test_log__keeps_what_a_server_says_on_one_line(caplog):
    with serving(b"\x1b[31mred \xff\r\n\r\n") as server:
        refuse(server.url(), local(server))
    (message,) = caplog.messages
    assert message.isprintable()
    assert message.isascii()
