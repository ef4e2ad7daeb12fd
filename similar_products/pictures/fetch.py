"""A picture by URL: the one door to the network, and it leads to public web servers alone.

Who sends a URL chooses what this server connects to, and owns, it may be, the name, its DNS and the server behind
it. So each name is resolved once and each address checked before the first packet; the connection goes to a checked
address; every redirect starts anew; and one clock and one count of bytes bound the whole. What went wrong is for the
log: whoever asked gets one sentence for everything, as the differences would map the network this server stands in.

HTTP itself is urllib3's, one request on a socket made here. No pool, no session, no proxy, cookie, ``.netrc`` or
variable of the environment takes part. requests, and requests-hardened upon it, cannot serve: they read the body of a
redirect whole and unpack it, 100 MB of memory for 100 KB sent, before anybody can look at it.
"""

import functools
import logging
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy

from ..conf import get_settings
from .decoder import PUBLIC, ImageRejected

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

NOT_FETCHED = gettext_lazy("No picture could be fetched from this URL; save the picture and send the file.")
SWITCHED_OFF = gettext_lazy("This shop does not search by URL; save the picture and send the file.")
PACKAGES_MISSING = "SIMILAR_PRODUCTS['FETCH_URLS'] is on, which needs the packages certifi and urllib3 2.6.3 or later"
INSTALL = "pip install 'django-similar-products[url-search]'"

MAX_URL = 2_048
"""Characters; a URL to a picture with the signature of a cloud's storage has about 1,000."""
MAX_ADDRESSES = 4
"""So many addresses of a name are tried; its owner may list hundreds."""
MAX_LOOKUPS = 32
"""So many names are looked up at once. A lookup cannot be stopped: its thread lives on until the resolver gives up."""

_URLLIB3 = (2, 6, 3)
_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {
    "User-Agent": "django-similar-products",
    "Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif,*/*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
# No userinfo, no percent-encoding, no zone, nothing but ASCII: Unicode has digits and full stops of its own that
# turn into addresses on the way. Other alphabets come as xn--, which is what a browser copies.
_NETLOC = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_GIVEN_OUT = IPv6Network("2000::/3")
"""All of IPv6 that is the public Internet.

Outside lie loopback, ``fc00::/7`` with the metadata of AWS and Google, ``fe80::/10``, ``fec0::/10``, multicast, and
most forms that carry an IPv4 address: ``::127.0.0.1``, ``::ffff:127.0.0.1`` and NAT64's ``64:ff9b::7f00:1``.
"""
_DENIED = tuple(
    map(
        ip_network,
        (
            # ipaddress calls these global, or did in some Python 3.11.
            "161.26.0.0/16",  # IBM Cloud's private endpoints, in addresses registered as public
            "166.8.0.0/14",  # the same
            "168.63.129.16/32",  # Azure's host to its guests
            "192.0.0.0/24",  # protocols' own; Oracle's metadata at 192.0.0.192
            "192.88.99.0/24",  # relays of 6to4
            "224.0.0.0/4",  # multicast
            "2001::/23",  # protocols' own; Teredo, which carries IPv4 addresses
            "2002::/16",  # 6to4, the same
            "3fff::/20",  # documentation
            # And these it does not; here for whoever reads.
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata at 100.100.100.200
            "169.254.0.0/16",  # link-local; everybody else's metadata at 169.254.169.254
        ),
    )
)


class _Refused(Exception):
    """Why nothing was fetched, for the log."""


class _Denied(_Refused):
    """Somebody asks for what is not public."""


def _is_public(address: Address) -> bool:
    """Tell whether ``address`` is plainly one of the public Internet, whatever IPv4 address it may carry."""
    if isinstance(address, IPv6Address):
        # ISATAP carries an IPv4 address in the last half of an address of any network.
        is_isatap = (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE
        if address.scope_id or address not in _GIVEN_OUT or is_isatap:
            return False
    return address.is_global and not any(address in network for network in _DENIED)


@functools.cache
def _tls() -> ssl.SSLContext:
    import certifi

    # Certificates and names are verified; create_default_context would listen to SSLKEYLOGFILE as well.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, slots=True)
class _Rules:
    """What may be fetched; no setting changes them, only tests do, which have local servers alone."""

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
    """Tell whether the packages are there that fetching needs."""
    if not find_spec("certifi") or not find_spec("urllib3"):
        return False
    return tuple(int(part) for part in re.findall(r"\d+", version("urllib3"))[:3]) >= _URLLIB3


def fetch_picture(url: str) -> bytes:
    """Return what lies at ``url``, at most 10 MB, within 10 seconds; hand it to ``images.load_pixels(public=True)``.

    Raises ``ImageRejected`` with the code ``url_search_off`` unless ``SIMILAR_PRODUCTS["FETCH_URLS"]`` is True, and
    with ``url_not_fetched`` and one sentence for all that can be wrong; the logger
    ``similar_products.pictures.fetch`` has the reason. Raises ``ImproperlyConfigured`` where the packages of the extra
    ``url-search`` are missing.
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
        logger.log(level, "No picture from %s: %s", _shown(url), reason)
        raise ImageRejected("url_not_fetched", str(NOT_FETCHED)) from None


def _shown(url: Any) -> str:
    """Return ``url`` fit for a log: without line ends, without what may be secret, and not for ever."""
    bare = re.split(r"[?#]", str(url)[:MAX_URL], maxsplit=1)[0]
    return ascii(bare.rpartition("@")[2])[:200]


def _follow(url: str, rules: _Rules) -> bytes:
    wire = _Wire(rules.total_seconds, rules.max_bytes)
    target = _Target.of(url, rules)
    for _ in range(rules.max_redirects + 1):
        answer = _ask(target, rules, wire)
        if isinstance(answer, bytes):
            return answer
        following = _Target.of(urljoin(target.url, answer), rules)
        if target.scheme == "https" != following.scheme:
            raise _Refused(f"it redirects from https to http on {following.host}")
        target = following
    raise _Refused(f"it redirects more than {rules.max_redirects} times")


# Where to.


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be asked for, taken apart once; nothing else parses it."""

    scheme: str
    host: str
    """A name in lower case without a dot at the end, or an address without brackets."""
    port: int
    path: str
    """With the query; ASCII."""
    url: str

    @classmethod
    def of(cls, url: str, rules: _Rules) -> "_Target":
        """Raise ``_Refused`` or ``ValueError`` for all but plain URLs of web servers on ports that are allowed."""
        if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
            raise _Refused(f"it is no text of 1 to {MAX_URL:,} characters")
        _check_characters(url)
        parts = urlsplit(url)
        if parts.scheme not in rules.ports:
            raise _Refused("its scheme is neither http nor https")
        found = _NETLOC.fullmatch(parts.netloc)
        if not found:
            raise _Refused("its host has user, password, zone or odd characters, or is missing")
        allowed = rules.ports[parts.scheme]
        port = int(found["port"]) if found["port"] else 443 if parts.scheme == "https" else 80
        if port not in allowed:
            raise _Denied(f"port {port} is not allowed")
        host = _host(found["host"].lower())
        return cls(parts.scheme, host, port, _path(parts), url)


def _check_characters(url: str) -> None:
    # Browsers read a backslash as a slash, and urlsplit drops line ends and tabs without a word.
    if "\\" in url or " " in url or not url.isprintable():
        raise _Refused("it has a character that no URL has")


def _host(text: str) -> str:
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    name = text.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to inet_aton; four decimal numbers alone are meant.
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise _Denied("its host is an odd spelling of an IPv4 address") from None
    if len(labels) < 2 or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _Refused("its host is no full name of a public server")
    return name


def _path(parts: SplitResult) -> str:
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return f"{path}?{query}" if query else path


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


def _addresses(target: _Target, rules: _Rules, wire: "_Wire") -> list[Address]:
    """Return the addresses of the host, resolved this once, all of them checked."""
    try:
        addresses = [ip_address(target.host)]
    except ValueError:
        found = _look_up(target, wire)
        # Each address once, in the resolver's order. Odd families give text that is no address: a ValueError.
        addresses = [ip_address(text) for text in dict.fromkeys(str(entry[4][0]) for entry in found)]
    for address in addresses:
        if not rules.is_public(address):
            raise _Denied(f"{target.host} is at {address}, which is not public")
    if not addresses:
        raise _Refused(f"{target.host} has no address")
    return addresses[:MAX_ADDRESSES]


def _look_up(target: _Target, wire: "_Wire") -> list[Any]:
    """Return what ``socket.getaddrinfo`` does, or raise when time is over: it knows no time limit itself."""
    seconds, lookups = wire.seconds_left(), _lookups
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            # With the dot at the end no search list makes the name one of the local network.
            answers.put(socket.getaddrinfo(f"{target.host}.", target.port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001  raised again where it is waited for
            answers.put(error)
        finally:
            lookups.release()

    if not lookups.acquire(blocking=False):
        raise _Refused(f"{MAX_LOOKUPS} lookups of names have not ended yet")
    try:
        threading.Thread(target=ask, name="similar_products.pictures.fetch", daemon=True).start()
    except RuntimeError:
        lookups.release()
        raise
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise _Refused(f"the lookup of {target.host} takes too long") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


# On the wire.


class _Wire:
    """What is left of the time and the bytes of one fetch, its redirects included."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._bytes_left = self._max_bytes = max_bytes

    def seconds_left(self) -> float:
        """Raises ``_Refused`` where none are."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise _Refused("it takes too long")
        return seconds

    def count(self, length: int) -> None:
        """Raises ``_Refused`` where ``length`` bytes more are too many."""
        self._bytes_left -= length
        if self._bytes_left < 0:
            raise _Refused(f"it sends more than {self._max_bytes:,} bytes")


class _Socket(socket.socket):
    """A socket for which every read and write has the time that the whole fetch has left.

    A timeout alone would start anew with each byte, in the headers too. The file that ``http.client`` reads from
    calls ``recv_into``.
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
    """The same within TLS; the bytes are counted as they come out of it."""


def _connect(target: _Target, rules: _Rules, wire: _Wire) -> socket.socket:
    """Return a socket to a checked address of the host, within TLS verified for its name where that is asked for."""
    addresses = _addresses(target, rules, wire)
    ends = time.monotonic() + rules.connect_seconds
    failure: OSError = TimeoutError("no time to connect")
    for number, address in enumerate(addresses):
        sock = _Socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # An address that does not answer leaves the next ones their share.
            share = (ends - time.monotonic()) / (len(addresses) - number)
            sock.settimeout(max(0.001, min(share, wire.seconds_left())))
            sock.connect((str(address), target.port))
            sock.settimeout(wire.seconds_left())  # of the handshake as a whole
            if target.scheme == "https":
                sock = _encrypt(sock, target.host, rules.tls())
            sock.wire = wire
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _encrypt(sock: _Socket, host: str, context: ssl.SSLContext) -> _TLSSocket:
    context.sslsocket_class = _TLSSocket
    encrypted = context.wrap_socket(sock, server_hostname=host)
    assert isinstance(encrypted, _TLSSocket)  # noqa: S101  for the types
    return encrypted


def _ask(target: _Target, rules: _Rules, wire: _Wire) -> bytes | str:
    """Return the body, or where the server redirects to."""
    from urllib3.connection import HTTPConnection, HTTPSConnection

    sock = _connect(target, rules, wire)
    try:
        connection = (HTTPSConnection if target.scheme == "https" else HTTPConnection)(target.host, target.port)
        connection.auto_open = 0  # it never connects by itself
        connection.sock = sock
        connection.request("GET", target.path, headers=_HEADERS, preload_content=False, decode_content=False)
        response = connection.getresponse()
        try:
            return _read(response, rules)
        finally:
            response.close()
    finally:
        # sock.close() would wait for urllib3's file upon it, which stays open where the headers are wrong.
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
            raise _Refused("the server's Content-Length is too much or no number")
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
    # Headers are read as Latin-1; what is beyond ASCII in them is UTF-8.
    location = locations[0].encode("latin-1").decode("utf-8")
    _check_characters(location)
    return location
