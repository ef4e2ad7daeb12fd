"""What every command on a catalogue says alike, whatever it is for."""

import io
import logging
import sys

import pytest
from django.core.management import load_command_class
from django.db import connection

from tests.management.catalogue_runs import COMMANDS, SIMILARITY, assert_refused

pytestmark = pytest.mark.django_db


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
    sentence = "The database reports an error: column tests_shirt.embedding does not exist"
    assert_refused(run(command, "tests.Shirt", *SIMILARITY.get(command, ())), sentence, tmp_path)


def test_help__says_who_is_seen_and_the_exit_codes():
    for command in COMMANDS:
        parser = load_command_class("similar_products", command).create_parser("manage.py", command)
        text = io.StringIO()
        parser.print_help(text)
        said = " ".join(text.getvalue().split())
        assert "an anonymous visitor may see" in said
        assert "2 when the command could not run" in said


def test_progress__in_a_pipe_leaves_the_log_its_handlers(monkeypatch):
    command = load_command_class("similar_products", "embed_products")
    command.verbosity = 1
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handlers = list(logging.getLogger().handlers)
    with command.progress("tests.Shirt", 1, "pictures"):
        assert logging.getLogger().handlers == handlers
