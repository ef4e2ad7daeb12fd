"""A shop made by pasting: a new project in a folder and a database of its own, on the server of the tests."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from tests.docs.snippets import ROOT

TRY = ROOT / "tests" / "docs" / "try_in_shop.py"
NOT_OURS = ("COV", "DJANGO", "PG", "PYTEST", "PYTHON", "SIMILAR", "XDG")


class PasteError(Exception):
    """What a reader would have seen go wrong."""


class PastedShop:
    """The project that a reader works in: what is pasted stays, and later blocks build on it."""

    def __init__(self, folder: Path, server: Mapping[str, Any], copied: "PastedShop | None" = None) -> None:
        self.folder = folder
        self.server = server
        self.database = f"pasted_{folder.name}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TFHUB_CACHE_DIR": str(folder.parent / "tfhub"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XDG_CACHE_HOME": str(folder.parent / "cache"),
        }
        self.web: subprocess.Popen[bytes] | None = None
        self.port = 8000
        self.output = ""
        self.has_tables = copied is not None
        self.create_database(copied.database if copied else "template0")
        if copied:
            shutil.copytree(copied.folder, folder)
            self.write_database(copied.database)
        else:
            folder.mkdir()
            self.run("django-admin startproject mysite . && python manage.py startapp shop")
            self.write_database("")

    def create_database(self, template: str = "template0") -> None:
        self.sql(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)", "postgres")
        self.sql(f"CREATE DATABASE {self.database} TEMPLATE {template}", "postgres")

    def sql(self, statement: str, database: str = "") -> list[Any]:
        with psycopg.connect(**self.server, dbname=database or self.database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def write_database(self, copied: str) -> None:
        settings = self.folder / "mysite" / "settings.py"
        if copied:
            settings.write_text(settings.read_text().replace(copied, self.database))
            return
        given = {"ENGINE": "django.db.backends.postgresql", "NAME": self.database}
        given |= {name.upper(): str(value) for name, value in self.server.items()}
        with settings.open("a") as file:
            file.write(f'DATABASES = {{"default": {given!r}}}\nMEDIA_ROOT = BASE_DIR / "media"\nMEDIA_URL = "media/"\n')

    def write(self, name: str, text: str, *, is_added: bool = False) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.read_text()}\n{text}" if is_added and path.exists() else text)

    def run(self, line: str, *, exit_codes: tuple[int, ...] = (0,)) -> str:
        """Return what a command line prints; raise ``PasteError`` where it ends with another exit code."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.output = done.stdout + done.stderr
        if done.returncode not in exit_codes:
            raise PasteError(f"{line}\nended with {done.returncode}:\n{self.output[-4000:]}")
        return done.stdout

    def try_out(self, what: str, *arguments: str) -> str:
        """Do in a process of its own what a reader does with a page, a shell or a file: see try_in_shop.py."""
        return self.run(shlex.join(["python", str(TRY), what, *arguments]))

    def serve(self) -> None:
        """Start the development server, on a free port, as another test may have taken the usual one."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.web = subprocess.Popen(
            ["python", "manage.py", "runserver", "--noreload", str(self.port)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.web.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise PasteError("python manage.py runserver does not serve")

    def make_tables(self) -> None:
        """Start anew with the models as they are now, by the quick start's own three commands."""
        self.create_database()
        for migration in (self.folder / "shop" / "migrations").glob("0*.py"):
            if migration.name != "0001_pgvector.py":
                migration.unlink()
        self.run("python manage.py makemigrations && python manage.py migrate && python manage.py embed_products")
        self.try_out("fill")

    def close(self) -> None:
        if self.web:
            self.web.terminate()
            self.web.wait(30)
        self.sql(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)", "postgres")


def same_words(promised: str, printed: str) -> set[str]:
    """Return the lines of ``promised`` that ``printed`` lacks, numbers, names of files and spaces aside."""
    return {line for line in _lines(promised) if line not in _lines(printed)}


def _lines(text: str) -> set[str]:
    masked = re.sub(r"\d[\d,.]*", "N", text)
    masked = re.sub(r"\b[a-z]+-\w+-\w+(?:-fitN)?\b", "ENCODER", masked)
    return {" ".join(line.split()) for line in masked.splitlines()} - {""}
