"""A PostgreSQL server with pgvector for the processes of one checkout, which stops with the last of them.

Kernel locks say who uses the server, because they end with their process, however that ends:

- ``<version>.users.lock``: every process that uses the server holds it shared.
- ``<version>.transition.lock``: held exclusively by whoever joins, starts, leaves or stops. A process that
  leaves turns its shared lock into an exclusive one, which is not atomic, but nobody else can take a lock
  meanwhile. Where it succeeds, this process was the last and stops the server.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from .programs import Programs, failure, make_public, make_unfinished, remove_unfinished

try:
    import fcntl
except ImportError as error:
    raise failure("it needs Linux or macOS") from error

LOCALE = {
    "16": ["--locale=C"],
    # It maps the case of all letters, and alike on every platform; 16 does not have it.
    "18": ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
}
PORT = "5432"  # of the socket's name; there is no TCP
USER = "postgres"
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "60",
    "random_page_cost": "1.1",
    "jit": "off",
}
SYSTEM_FOLDER = Path("/var/lib/django-similar-products")  # for root, where nobody cannot reach a folder
LONGEST_SOCKET_PATH = 103  # of macOS; Linux has four more
TIMEOUT = 90  # seconds; a server whose postmaster.pid is gone notices that once a minute, and ends


class EmbeddedServer:
    """The server of one data folder as this process uses it; ``get_server`` makes it."""

    def __init__(self, data_folder: Path) -> None:
        version = os.environ.get("PGSERVER_POSTGRES_VERSION", "18")
        system_folder = SYSTEM_FOLDER / hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:16]
        self._programs = Programs(version, system_folder)
        self.psql = self._programs.psql
        self._locale = LOCALE[version]
        self.data_folder = self.home = data_folder
        data_folder.mkdir(parents=True, exist_ok=True)
        is_root = os.geteuid() == 0
        if is_root and not (self._programs.can_reach(data_folder) and _fits_socket(data_folder / version)):
            self.home = system_folder
            make_public(system_folder)
        self.cluster = self.home / version
        self.log = self.home / f"{version}.log"
        self._users_lock = self.home / f"{version}.users.lock"
        self._transition_lock = self.home / f"{version}.transition.lock"
        self._membership: int | None = None  # the descriptor that holds the users' lock
        self._address: dict[str, str] | None = None

    def join(self, *, verify: bool = False) -> dict[str, str]:
        """Return the host, port and user to connect with, having started the server where none runs.

        With verify, make sure that it answers even if this process has already joined it. Raises
        ImproperlyConfigured where it cannot be started.
        """
        with _guard, _failures_told():
            if self._address is None or verify:
                if _ending:
                    raise failure("this process is ending")
                with self._transition():
                    self._become_member()
                    host = self._answering_host() or self._start()
                self._address = {"host": host, "port": PORT, "user": USER}
            return dict(self._address)

    def leave(self) -> None:
        """Stop using the server, and stop it where nobody else uses it.

        Raises OSError where the data folder is gone.
        """
        with _guard:
            membership, self._membership, self._address = self._membership, None, None
            if membership is None:
                return
            with self._transition(), os.fdopen(membership), suppress(BlockingIOError):
                if self._is_current(membership):  # else what is there now is a later server, of others
                    fcntl.flock(membership, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._stop()

    def forget(self) -> None:
        """Close what a forked child has inherited, which leaves its parent's lock as it is."""
        if self._membership is not None:
            os.close(self._membership)

    @contextmanager
    def _transition(self) -> Iterator[None]:
        descriptor = os.open(self._transition_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # it has no copy: forks wait for _guard, and exec closes it

    def _become_member(self) -> None:
        if self._membership is not None and not self._is_current(self._membership):
            os.close(self._membership)
            self._membership = None
        if self._membership is None:
            self._membership = os.open(self._users_lock, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._membership, fcntl.LOCK_SH)
            _leave_at_exit()

    def _is_current(self, membership: int) -> bool:
        """Return whether the lock is still that of the data folder, which may have been removed meanwhile."""
        return self._users_lock.exists() and os.path.samestat(os.fstat(membership), self._users_lock.stat())

    def _recorded_host(self) -> str | None:
        """Return the socket's folder according to postmaster.pid, which a killed server leaves behind."""
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()[4] or None
        except (FileNotFoundError, IndexError):
            return None

    def _answering_host(self) -> str | None:
        """Return the socket's folder once the server accepts connections, None where none answers."""
        host = self._recorded_host()
        if host is None:
            return None
        deadline = time.monotonic() + TIMEOUT
        while (answer := _ping(host)) == Ping.REJECT:  # it recovers from a crash, or is still shutting down
            if time.monotonic() > deadline:
                raise TimeoutError(f"for {TIMEOUT} s the server in {self.cluster} has let nobody in")
            time.sleep(0.05)
        return host if answer == Ping.OK else None

    def _start(self) -> str:
        """Return the socket's folder of a new server."""
        self._clear_remains()
        if not self.cluster.exists():
            self._make_cluster()
        # Not below the temporary folder, whose own path may be too long.
        fits = _fits_socket(self.cluster)
        host = str(self.cluster) if fits else tempfile.mkdtemp(prefix="postgres-", dir="/tmp")
        settings = {**SERVER_SETTINGS, "unix_socket_directories": host}
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        deadline = time.monotonic() + TIMEOUT
        while True:
            self.log.unlink(missing_ok=True)
            if self._run("pg_ctl", "start", f"--timeout={TIMEOUT}", f"--options={options}") == 0:
                return host
            # The backends of a killed postmaster end a moment after it.
            if "still in use" not in self.log.read_text(errors="replace") or time.monotonic() > deadline:
                raise self._failure_with_log("pg_ctl start")
            time.sleep(0.1)

    def _stop(self) -> None:
        host = self._recorded_host()
        # Only where it answers: else the recorded process id may be another program's by now.
        if host is not None and _ping(host) != Ping.NO_RESPONSE:
            self._run("pg_ctl", "stop", "--mode=fast")
            with suppress(OSError):  # it is the cluster
                Path(host).rmdir()

    def _clear_remains(self) -> None:
        """Remove what killed processes left: files whose process id another program has by now bar a start.

        Nobody else starts a server meanwhile, and PostgreSQL itself starts none beside live backends.
        """
        remove_unfinished(self.cluster)
        folder = Path(self._recorded_host() or self.cluster)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        if folder != self.cluster:
            with suppress(OSError):
                folder.rmdir()

    def _make_cluster(self) -> None:
        unfinished = make_unfinished(self.cluster)
        self._programs.own(unfinished)
        options = ("--auth=trust", "--encoding=UTF8", f"--username={USER}", *self._locale)
        if self._run("initdb", *options, data=unfinished) != 0:
            raise self._failure_with_log("initdb")
        unfinished.rename(self.cluster)

    def _run(self, program: str, *arguments: str, data: Path | None = None) -> int:
        return self._programs.run(program, *arguments, data=data or self.cluster, log=self.log)

    def _failure_with_log(self, program: str) -> ImproperlyConfigured:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return failure(f"{program} failed: {' / '.join(lines[-4:])}")


def _fits_socket(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(path) <= LONGEST_SOCKET_PATH and b"," not in path  # which separates hosts


def _ping(host: str) -> int:
    conninfo = make_conninfo(host=host, port=PORT, user=USER, dbname="postgres", connect_timeout=10)
    return PGconn.ping(conninfo.encode())


@contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except (OSError, LookupError, subprocess.SubprocessError) as error:
        raise failure(error) from error


_guard = threading.RLock()  # held wherever this process's state changes
_servers: dict[Path, EmbeddedServer] = {}
_finalizer: Finalize | None = None
_ending = False


def get_server(data_folder: str | Path) -> EmbeddedServer:
    """Return the server of the data folder, without starting it.

    Raises ImproperlyConfigured where the wheel is absent or the folder cannot be made.
    """
    path = Path(data_folder).resolve()
    with _guard, _failures_told():
        if path not in _servers:
            _servers[path] = EmbeddedServer(path)
        return _servers[path]


def _leave_at_exit() -> None:
    # Unlike atexit, this serves the children of multiprocessing too, and their parent after it joined them.
    global _finalizer
    if _finalizer is None:
        _finalizer = Finalize(None, _leave_all, exitpriority=-100)


def _leave_all() -> None:
    global _ending
    with _guard:
        _ending = True  # threads that still run must not start it again
        for server in _servers.values():
            with suppress(OSError):  # the data folder was removed, which ends its server
                server.leave()


def _before_fork() -> None:
    _guard.acquire()


def _after_fork_in_parent() -> None:
    _guard.release()


def _after_fork_in_child() -> None:
    global _guard, _finalizer, _ending
    for server in _servers.values():
        server.forget()
    _servers.clear()
    _guard, _finalizer, _ending = threading.RLock(), None, False


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
