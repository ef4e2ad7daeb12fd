"""A picture by URL: the one way to the network, to public web servers only.

Whoever sends a URL chooses what this server connects to, and may own the name, its DNS and the server behind it. So
each name is resolved once and all its addresses are checked before the first packet; the connection goes to a checked
address; every redirect starts again; one deadline and one count of bytes apply to the whole. The log has the reason of
a failure; the visitor gets one sentence for all, as the differences would map this server's network.

HTTP is urllib3's, one request on a socket made here: no pool, session, proxy, cookie, ``.netrc`` or environment
variable. requests, and requests-hardened on top of it, read and unpack the whole body of a redirect: 100 MB of memory
for 100 KB sent.
"""

import functools
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy

from ..conf import get_settings
from .decoder import ImageRejected
from .limits import PUBLIC

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

NOT_FETCHED = gettext_lazy("No picture could be fetched from this URL; save the picture and send the file.")
SWITCHED_OFF = gettext_lazy("This shop does not search by URL; save the picture and send the file.")
PACKAGES_MISSING = "SIMILAR_PRODUCTS['FETCH_URLS'] is on, which needs the packages certifi and urllib3 2.6.3 or later"
INSTALL = "pip install 'django-similar-products[url-search]'"

MAX_URL = 2_048
"""Maximum number of characters; a signed URL of a cloud's storage has about 1,000."""
MAX_ADDRESSES = 4
"""Maximum number of addresses of a name that are tried; its owner may list hundreds."""
MAX_LOOKUPS = 32
"""Maximum number of simultaneous look-ups. One cannot be stopped: its thread lives until the resolver gives up."""

_URLLIB3 = (2, 6, 3)
_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {
    "User-Agent": "django-similar-products",
    "Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif,*/*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
# No userinfo, percent-encoding or zone, and ASCII only: Unicode digits and full stops would turn into addresses on the
# way. Names in other alphabets come as xn--, which is what a browser copies.
_NETLOC = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_PUBLIC_IPV6 = IPv6Network("2000::/3")
"""All of IPv6 that is the public Internet.

Outside are loopback, ``fc00::/7`` with the metadata of AWS and Google, ``fe80::/10``, ``fec0::/10``, multicast, and
most forms that carry an IPv4 address: ``::127.0.0.1``, ``::ffff:127.0.0.1`` and NAT64's ``64:ff9b::7f00:1``.
"""
_DENIED = [
    ip_network(network)
    for network in (
        # ipaddress calls these global, or did so in some Python 3.11.
        "161.26.0.0/16",  # IBM Cloud's private endpoints, in addresses registered as public
        "166.8.0.0/14",  # the same
        "168.63.129.16/32",  # Azure's host, as its guests see it
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "2001::/23",  # protocol assignments; Teredo, which carries IPv4 addresses
        "2002::/16",  # 6to4, which does so too
        "3fff::/20",  # documentation
        # These it does not; they are listed for the reader.
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata at 100.100.100.200
        "169.254.0.0/16",  # link-local; the metadata of most clouds at 169.254.169.254
    )
]


class _Refused(Exception):
    """Why nothing was fetched, for the log."""


class _Denied(_Refused):
    """A request for something that is not public; it is logged as a warning."""


def _is_public(address: Address) -> bool:
    """Return whether ``address`` belongs to the public Internet and carries no IPv4 address."""
    if isinstance(address, IPv6Address):
        # ISATAP puts an IPv4 address into the last half of an address, in any network.
        is_isatap = (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE
        if address.scope_id or address not in _PUBLIC_IPV6 or is_isatap:
            return False
    return address.is_global and not any(address in network for network in _DENIED)


@functools.cache
def _tls() -> ssl.SSLContext:
    import certifi

    # It verifies certificates and names; create_default_context would also obey SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, slots=True)
class _Rules:
    """What may be fetched. No setting changes it; tests do, as they have local servers only."""

    ports: Mapping[str, frozenset[int]] = field(
        default_factory=lambda: {"http": frozenset({80}), "https": frozenset({443})}
    )
    is_public: Callable[[Address], bool] = _is_public
    tls: Callable[[], ssl.SSLContext] = _tls
    connect_seconds: float = 3.0
    total_seconds: float = 10.0
    max_bytes: int = PUBLIC.max_bytes
    max_redirects: int = 3


_STRICT = _Rules()


def is_installed() -> bool:
    """Return whether the packages that fetching needs are installed."""
    if not find_spec("certifi") or not find_spec("urllib3"):
        return False
    return tuple(int(part) for part in re.findall(r"\d+", version("urllib3"))[:3]) >= _URLLIB3


def fetch_picture(url: str) -> bytes:
    """Return the bytes at ``url``, up to 10 MB, within 10 seconds; pass them to ``load_pixels`` with ``public=True``.

    Raises ``ImageRejected`` with the code ``url_search_off`` unless ``SIMILAR_PRODUCTS["FETCH_URLS"]`` is True, and
    with ``url_not_fetched`` and one sentence for whatever else is wrong: the reason is logged. Raises
    ``ImproperlyConfigured`` where the packages of the extra ``url-search`` are missing.
    """
    if not get_settings().fetch_urls:
        raise ImageRejected("url_search_off", str(SWITCHED_OFF))
    if not is_installed():
        raise ImproperlyConfigured(f"{PACKAGES_MISSING}: run {INSTALL}.")
    return _fetch(url, _STRICT)


def _fetch(url: str, rules: _Rules) -> bytes:
    try:
        return _follow(url, rules)
    except Exception as error:  # noqa: BLE001  codecs, resolvers, TLS and HTTP raise what they like
        level = logging.WARNING if isinstance(error, _Denied) else logging.INFO
        reason = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {ascii(str(error))[:200]}"
        logger.log(level, "No picture from %s: %s", _log_form(url), reason)
        raise ImageRejected("url_not_fetched", str(NOT_FETCHED)) from None


def _log_form(url: object) -> str:
    """Return ``url`` for the log: one short line without the parts that may be secret."""
    bare = re.split(r"[?#]", str(url)[:MAX_URL], maxsplit=1)[0]
    return ascii(bare.rpartition("@")[2])[:200]


def _follow(url: str, rules: _Rules) -> bytes:
    wire = _Wire(rules.total_seconds, rules.max_bytes)
    target = _Target.of(url, rules)
    for _ in range(rules.max_redirects + 1):
        answer = _request(target, rules, wire)
        if isinstance(answer, bytes):
            return answer
        following = _Target.of(urljoin(target.url, answer), rules)
        if target.scheme == "https" != following.scheme:
            raise _Refused(f"it redirects from https to http on {following.host}")
        target = following
    raise _Refused(f"it redirects more than {rules.max_redirects} times")


# The target of a URL.


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of a URL that may be requested; nothing else parses it."""

    scheme: str
    host: str
    """A name in lower case without a trailing dot, or an address without brackets."""
    port: int
    path: str
    """With the query, in ASCII."""
    url: str

    @classmethod
    def of(cls, url: str, rules: _Rules) -> "_Target":
        """Raise ``_Refused`` or ``ValueError`` for everything but a plain URL of a web server on an allowed port."""
        if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
            raise _Refused(f"it is not a text of 1 to {MAX_URL:,} characters")
        _check_characters(url)
        parts = urlsplit(url)
        if parts.scheme not in rules.ports:
            raise _Refused("its scheme is neither http nor https")
        found = _NETLOC.fullmatch(parts.netloc)
        if not found:
            raise _Refused("its host has user, password, zone or odd characters, or is missing")
        port = int(found["port"] or (443 if parts.scheme == "https" else 80))
        if port not in rules.ports[parts.scheme]:
            raise _Denied(f"port {port} is not allowed")
        return cls(parts.scheme, _parse_host(found["host"].lower()), port, _quote_path(parts), url)


def _check_characters(url: str) -> None:
    # Browsers read a backslash as a slash, and urlsplit silently drops line ends and tabs.
    if "\\" in url or " " in url or not url.isprintable():
        raise _Refused("it has a character that no URL has")


def _parse_host(text: str) -> str:
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    name = text.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to inet_aton; only four decimal numbers are allowed.
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise _Denied("its host is an unusual spelling of an IPv4 address") from None
    if len(labels) < 2 or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _Refused("its host is not the full name of a public server")
    return name


def _quote_path(parts: SplitResult) -> str:
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return f"{path}?{query}" if query else path


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


def _resolve(target: _Target, rules: _Rules, wire: "_Wire") -> list[Address]:
    """Return the addresses of the host, all of them checked; nothing else resolves its name."""
    try:
        addresses = [ip_address(target.host)]
    except ValueError:
        # Each address once, in the resolver's order. Other families give text that is not an address: a ValueError.
        addresses = [ip_address(text) for text in dict.fromkeys(_look_up(target, wire))]
    for address in addresses:
        if not rules.is_public(address):
            raise _Denied(f"{target.host} is at {address}, which is not public")
    if not addresses:
        raise _Refused(f"{target.host} has no address")
    return addresses[:MAX_ADDRESSES]


def _look_up(target: _Target, wire: "_Wire") -> list[str]:
    """Return the addresses that ``socket.getaddrinfo`` finds, within the time left: it has no timeout of its own."""
    lookups = _lookups
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            # With the trailing dot no search list makes the name one of the local network.
            found = socket.getaddrinfo(f"{target.host}.", target.port, type=socket.SOCK_STREAM)
            answer.set_result([str(address[0]) for *_, address in found])
        except Exception as error:  # noqa: BLE001  raised again where it is waited for
            answer.set_exception(error)
        finally:
            lookups.release()

    seconds = wire.seconds_left()
    if not lookups.acquire(blocking=False):
        raise _Refused(f"{MAX_LOOKUPS} look-ups of names have not ended yet")
    try:
        threading.Thread(target=ask, name=__name__, daemon=True).start()
    except RuntimeError:
        lookups.release()
        raise
    try:
        return answer.result(timeout=seconds)
    except TimeoutError:
        raise _Refused(f"the look-up of {target.host} takes too long") from None


# The connection.


class _Wire:
    """The time and bytes that one fetch has left, redirects included."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._bytes_left = self._max_bytes = max_bytes

    def seconds_left(self) -> float:
        """Return the seconds until the deadline; raise ``_Refused`` after it."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise _Refused("it takes too long")
        return seconds

    def count(self, length: int) -> None:
        """Subtract ``length`` received bytes; raise ``_Refused`` where that is too many."""
        self._bytes_left -= length
        if self._bytes_left < 0:
            raise _Refused(f"it sends more than {self._max_bytes:,} bytes")


class _Socket(socket.socket):
    """A socket whose every read and write gets the time that the whole fetch has left.

    A plain timeout would start again with each byte, in headers too. ``http.client`` reads by ``recv_into``.
    """

    wire: _Wire

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.wire.seconds_left())
        length = super().recv_into(*args, **kwargs)
        self.wire.count(length)
        return length

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(self.wire.seconds_left())
        super().sendall(*args, **kwargs)


class _TLSSocket(_Socket, ssl.SSLSocket):
    """The same with TLS; bytes are counted when they are decrypted."""


def _connect(target: _Target, rules: _Rules, wire: _Wire) -> socket.socket:
    """Return a socket to a checked address of the host, for https with TLS verified for its name."""
    addresses = _resolve(target, rules, wire)
    ends = time.monotonic() + rules.connect_seconds
    failure: OSError = TimeoutError("no time to connect")
    for number, address in enumerate(addresses):
        sock = _Socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # An address that does not answer leaves the others their share of the time.
            share = (ends - time.monotonic()) / (len(addresses) - number)
            sock.settimeout(max(0.001, min(share, wire.seconds_left())))
            sock.connect((str(address), target.port))
            sock.settimeout(wire.seconds_left())  # for the whole handshake
            if target.scheme == "https":
                sock = _encrypt(sock, target.host, rules.tls())
            sock.wire = wire
            return sock
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
    raise failure


def _encrypt(sock: _Socket, host: str, context: ssl.SSLContext) -> _TLSSocket:
    context.sslsocket_class = _TLSSocket
    encrypted = context.wrap_socket(sock, server_hostname=host)
    assert isinstance(encrypted, _TLSSocket)  # noqa: S101  for the types
    return encrypted


def _request(target: _Target, rules: _Rules, wire: _Wire) -> bytes | str:
    """Return the body, or the location that the server redirects to."""
    from urllib3.connection import HTTPConnection, HTTPSConnection

    sock = _connect(target, rules, wire)
    try:
        connection = (HTTPSConnection if target.scheme == "https" else HTTPConnection)(target.host, target.port)
        connection.auto_open = 0  # it must not connect by itself
        connection.sock = sock
        connection.request("GET", target.path, headers=_HEADERS, preload_content=False, decode_content=False)
        response = connection.getresponse()
        try:
            return _read(response, rules)
        finally:
            response.close()
    finally:
        # sock.close() would wait for urllib3's file of it, which stays open after invalid headers.
        if (number := sock.detach()) != -1:
            socket.close(number)


def _read(response: "BaseHTTPResponse", rules: _Rules) -> bytes | str:
    if response.status in _REDIRECTS:
        return _location(response)  # the body stays unread
    if response.status != 200:
        raise _Refused(f"the server answers {response.status}")
    for name, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        if any(value.strip().lower() != plain for value in response.headers.getlist(name)):
            raise _Refused(f"the server sends {name} other than {plain}")
    for value in response.headers.getlist("Content-Length"):
        if not value.isascii() or not value.isdigit() or int(value) > rules.max_bytes:
            raise _Refused("the server's Content-Length is too large or not a number")
    body = bytearray()
    while chunk := response.read(_CHUNK, decode_content=False):
        body += chunk
    if not body:
        raise _Refused("the server sends nothing")
    return bytes(body)


def _location(response: "BaseHTTPResponse") -> str:
    locations = response.headers.getlist("Location")
    if len(locations) != 1:
        raise _Refused(f"the server redirects to {len(locations)} places")
    # http.client decodes headers as Latin-1; beyond ASCII they are UTF-8.
    location = locations[0].encode("latin-1").decode("utf-8")
    _check_characters(location)
    return location
