"""What export_similar, find_duplicates and cluster_products say to bad input: one sentence, exit code 2, no file."""

import io
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection, connections
from django.db.models import QuerySet

from tests.catalogues import ENCODER, at_angle
from tests.models import Shirt

pytestmark = pytest.mark.django_db

COMMANDS = ("export_similar", "find_duplicates", "cluster_products")
WRITING = ("export_similar", "cluster_products")
SIMILARITY = {"find_duplicates": ("--similarity", "0.9")}  # the tests' encoder has no bands


@pytest.fixture
def shirts() -> None:
    QuerySet(Shirt).bulk_create(
        Shirt(name=str(n), image="s.png", embedding=at_angle(n / 10), embedding_source=f"{ENCODER}|s.png")
        for n in range(4)
    )


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command as manage.py does, and gives its exit code and both streams."""
    monkeypatch.setattr(connections, "close_all", lambda: None)  # which manage.py does at the end; ours is the test's
    monkeypatch.chdir(tmp_path)

    def run(command: str, *given: str) -> tuple[int, str, str]:
        try:
            load_command_class("similar_products", command).run_from_argv(["manage.py", command, *given])
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def assert_refused(done: tuple[int, str, str], sentence: str, tmp_path) -> None:
    code, out, err = done
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert sentence in last
    assert last.endswith(".") or ": error: " in last
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["tests.Nothing"], "'tests.Nothing' is no model with vectors; valid are "),
        (["tests.Order"], "'tests.Order' is no model with vectors; valid are "),
        ([], "There are several models with vectors; name one of "),
        (
            ["tests.Shirt", "--where", "colour=red"],
            "--where colour cannot be asked of tests.Shirt: Cannot resolve keyword 'colour' into field. Choices are: ",
        ),
        (["tests.Shirt", "--where", "price__gt=dear"], "--where price__gt cannot be asked of tests.Shirt: Field "),
        (["tests.Shirt", "--where", "price__like=1"], "Unsupported lookup 'like' for IntegerField"),
        (
            ["tests.Shirt", "--where", "orders__isnull=maybe"],
            "'orders__isnull=maybe' asks for 'maybe'; valid are orders__isnull=true and",
        ),
        (["tests.Shirt", "--where", "price"], "'price' is no condition; write FIELD=VALUE, as category__name=Hats or"),
        (["tests.Shirt", "--where", "=3"], "'=3' is no condition; write FIELD=VALUE"),
        (["tests.Shirt", "--where", "price__range=1"], "'price__range=1' has no two ends; write price__range=FROM,TO"),
        (
            ["tests.LimitedEditionScreenPrintedPosterOfMuseum", "--where", "created__year=99999"],
            "--where created__year cannot be asked of tests.LimitedEditionScreenPrintedPosterOfMuseum: year 99999 is",
        ),
        (["tests.Shirt", "--where", "name__regex=("], "The database cannot answer that: invalid regular expression: "),
        (["tests.Vase"], f"tests.Vase has 0 visible products with a vector of the encoder {ENCODER}, and two are"),
        (["tests.Shirt", "--database", "elsewhere"], "argument --database: invalid choice: 'elsewhere'"),
        (["tests.Shirt", "--nothing"], "unrecognized arguments: --nothing"),
    ],
)
def test_input__that_all_refuse(shirts, run, tmp_path, command, given, sentence):
    done = run(command, *given, *SIMILARITY.get(command, ()))
    assert_refused(done, sentence, tmp_path)


@pytest.mark.parametrize(
    ("command", "given", "sentence"),
    [
        ("export_similar", ["-k", "0"], "argument -k: '0' is not a positive whole number"),
        ("export_similar", ["-k", "many"], "argument -k: 'many' is not a positive whole number"),
        ("export_similar", ["--min-similarity", "2"], "argument --min-similarity: '2' is not a number from 0 to 1"),
        ("export_similar", ["--of", "colour=red"], "--of colour cannot be asked of tests.Shirt: Cannot resolve"),
        ("export_similar", ["--format", "xml"], "argument --format: invalid choice: 'xml'"),
        ("export_similar", ["--format", "parquet"], "Parquet is no text for standard output; name a file with"),
        (
            "export_similar",
            ["--output", "similar.xml"],
            "'similar.xml' ends in none of .json, .jsonl, .csv, .parquet; name the format with --format.",
        ),
        ("find_duplicates", ["--similarity", "x"], "argument --similarity: 'x' is not a number from 0 to 1"),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "age"], "--keep cannot be asked of tests.Shirt: Cannot "),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "price=x"], "--keep cannot be asked of tests.Shirt: "),
        ("find_duplicates", ["--similarity", "0.9", "--keep", "price,,"], "'price,,' has an empty criterion; write "),
        ("find_duplicates", [], f"Nobody has calibrated the encoder {ENCODER}: run calibrate_similarity, or say with"),
        (
            "find_duplicates",
            ["--similarity", "0.9", "--where", "price__lt=1"],
            f"tests.Shirt has 0 visible products with a vector of the encoder {ENCODER} that meet the conditions, and",
        ),
        ("cluster_products", ["--where", "name=1"], "tests.Shirt has 1 visible products with a vector of the encoder"),
        ("cluster_products", ["--groups", "0"], "argument --groups: '0' is not a positive whole number"),
        (
            "cluster_products",
            ["--groups", "5"],
            "There are 4 products for 5 groups; ask for fewer groups with --groups.",
        ),
        ("cluster_products", ["--seed", "-1"], "argument --seed: '-1' is not a positive whole number"),
        (
            "cluster_products",
            ["--seed", "4294967296"],
            "argument --seed: '4294967296' is not a whole number from 1 to 4,294,967,295",
        ),
        ("cluster_products", ["--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_input__that_one_refuses(shirts, run, tmp_path, command, given, sentence):
    assert_refused(run(command, "tests.Shirt", *given), sentence, tmp_path)


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
def test_output__full_disk_behind_standard_output(shirts):
    with Path("/dev/full").open("w") as full, pytest.raises(CommandError) as caught:
        call_command("export_similar", "tests.Shirt", stdout=full)
    assert str(caught.value) == "Standard output cannot be written: No space left on device."
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("command", "given", "package", "sentence"),
    [
        ("export_similar", ["--output", "s.parquet"], "pyarrow", "django-similar-products[parquet]"),
        ("cluster_products", [], "sklearn", "django-similar-products[catalogue]"),
    ],
)
def test_package__that_is_missing_is_named(shirts, run, tmp_path, monkeypatch, command, given, package, sentence):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself marks what cannot be imported
    assert_refused(run(command, "tests.Shirt", *given), f"pip install '{sentence}'.", tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_settings__that_are_wrong_are_said(shirts, run, tmp_path, settings, command):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "NOTHING": 1}
    assert_refused(run(command, "tests.Shirt"), "SIMILAR_PRODUCTS has the unknown key 'NOTHING'; known are ", tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("tests.nowhere.visible", "VISIBLE of tests.Shirt cannot be asked: No module named 'tests.nowhere'."),
        ("builtins.bool", "VISIBLE of tests.Shirt cannot be asked: bool expected at most 1 argument, got 2."),
    ],
)
def test_settings__visible_that_cannot_be_asked(shirts, run, tmp_path, settings, command, path, sentence):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": {"tests.Shirt": {"VISIBLE": path}}}
    assert_refused(run(command, "tests.Shirt", *SIMILARITY.get(command, ())), sentence, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_folder_for_the_vectors__that_cannot_be_written(shirts, run, tmp_path, monkeypatch, command):
    def full(**given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("similar_products.catalogue.neighbours.tempfile.TemporaryFile", full)
    sentence = "A file cannot be read or written: [Errno 28] No space left on device."
    assert_refused(run(command, "tests.Shirt", *SIMILARITY.get(command, ())), sentence, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_database__that_lacks_what_is_asked(shirts, run, tmp_path, command):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tests_shirt RENAME COLUMN embedding TO gone")
    sentence = "The database cannot answer that: column tests_shirt.embedding does not exist"
    assert_refused(run(command, "tests.Shirt", *SIMILARITY.get(command, ())), sentence, tmp_path)


def test_table__names_move_nothing_about(shirts):
    Shirt.objects.filter(name="1").update(name="a\nb\x1b[2Kc\u202e  d")
    out = io.StringIO()
    call_command("cluster_products", "tests.Shirt", groups=4, stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 + 4
    assert sorted(line.split("s.png  ")[1].strip() for line in lines[3:]) == ["0", "2", "3", "a b[2Kc d"]


def test_help__says_who_is_seen_and_the_exit_codes():
    for command in COMMANDS:
        parser = load_command_class("similar_products", command).create_parser("manage.py", command)
        text = io.StringIO()
        parser.print_help(text)
        said = " ".join(text.getvalue().split())
        assert "an anonymous visitor may see" in said
        assert "2 when the command could not run" in said
