import pytest
from django.core.management import load_command_class
from django.db import connections
from django.db.models import QuerySet

from tests.catalogues import ENCODER, at_angle
from tests.models import Shirt


@pytest.fixture
def shirts() -> None:
    QuerySet[Shirt](Shirt).bulk_create(
        Shirt(name=str(n), image="s.png", embedding=at_angle(n / 10), embedding_source=f"{ENCODER}|s.png")
        for n in range(4)
    )


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command as manage.py does, and gives its exit code and both streams."""
    monkeypatch.setattr(connections, "close_all", lambda: None)  # which manage.py does at the end; ours is the test's
    monkeypatch.chdir(tmp_path)

    def run(command: str, *given: str) -> tuple[str | int | None, str, str]:
        try:
            load_command_class("similar_products", command).run_from_argv(["manage.py", command, *given])
        except SystemExit as ended:
            return ended.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run
