"""What the commands write: files whole or not at all, and tables that a name cannot disturb."""

import io
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from similar_products.catalogue.neighbours import CatalogueError
from similar_products.management.output import write_files
from tests.management.catalogue_runs import COMMANDS, SIMILARITY, assert_refused
from tests.models import Shirt

pytestmark = pytest.mark.django_db

WRITING = ("export_similar", "cluster_products")


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere/similar.csv", "nowhere/similar.csv cannot be written: there is no folder nowhere; create it first."),
        (".", ". is a folder; name a file."),
        ("/dev/null", "/dev/null is no ordinary file; name another."),
        (f"{'x' * 251}.csv", "cannot be written: File name too long; name another file."),  # as long as may be
        (f"{'x' * 300}.csv", "cannot be written: File name too long; name another file."),
    ],
)
def test_output__that_cannot_be_written(shirts, run, tmp_path, command, path, sentence):
    assert_refused(run(command, "tests.Shirt", "--format", "csv", "--output", path), sentence, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("command", COMMANDS)
def test_output__full_disk_behind_standard_output(shirts, command):
    with Path("/dev/full").open("w") as full, pytest.raises(CommandError) as caught:
        call_command(command, "tests.Shirt", *SIMILARITY.get(command, ()), stdout=full)
    assert str(caught.value) == "Standard output cannot be written: No space left on device."
    assert caught.value.returncode == 2


def test_table__names_move_nothing_about(shirts):
    Shirt.objects.filter(name="1").update(name="a\nb\x1b[2Kc\u202e  d")
    out = io.StringIO()
    call_command("cluster_products", "tests.Shirt", groups=4, stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 + 4
    assert sorted(line.split("s.png  ")[1].strip() for line in lines[3:]) == ["0", "2", "3", "a b[2Kc d"]


def test_write_files__all_or_none(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(CatalogueError, match="cannot be written: No such file or directory; name another file."):
        write_files({tmp_path / "a": b"new", tmp_path / "gone" / "b": b"new"})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]
    write_files({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == [("a", b"new"), ("b", b"new")]
