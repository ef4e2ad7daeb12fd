"""Every command but ``quantize_encoder`` as a role that has the rights of docs/rights.md and no others."""

from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import ProgrammingError, connection

from tests.drawn_pictures import picture_file
from tests.embedding.added_shirts import add_shirts
from tests.models import Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
READING = {
    "export_similar": ("--output", "similar.json"),
    "find_duplicates": ("--similarity", "0.9"),
    "cluster_products": ("--groups", "2"),
    "map_catalogue": ("--html", "map.html"),
    "contact_sheet": ("--output", "sheet.png"),
    "evaluate_similarity": ("--by", "color"),
    "calibrate_similarity": ("--output", "bands.json"),
    "plot_precision": ("--by", "color", "--output", "precision.svg"),
}
DERIVED = "embedding, embedding_source, embedding_error"


def sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def role(transactional_db):
    """Return a function that gives the session a role with some rights and no others."""
    sql("DROP ROLE IF EXISTS similar_products_role", "CREATE ROLE similar_products_role")

    def take(*grants: str) -> None:
        sql(*(f"GRANT {grant} TO similar_products_role" for grant in grants), "SET ROLE similar_products_role")

    yield take
    sql("RESET ROLE", "DROP OWNED BY similar_products_role", "DROP ROLE similar_products_role")


@pytest.fixture
def colors() -> None:
    for number, color in enumerate(("red", "crimson", "blue", "navy") * 8):
        Shirt.objects.create(name=str(number), color="red" if number % 4 < 2 else "blue", image=picture_file(color))


@pytest.mark.parametrize("command", READING)
@pytest.mark.usefixtures("colors")
def test_rights__to_read_the_table_are_enough(role, run, command):
    role("SELECT ON tests_shirt")
    code, _, err = run(command, "tests.Shirt", *READING[command])
    assert code in (0, 1), err
    assert "permission" not in err


@pytest.mark.parametrize("option", ["--status", "--dry-run"])
def test_rights__to_read_are_enough_to_count_what_is_pending(role, run, option):
    role("SELECT ON tests_shirt")
    assert run("embed_products", "tests.Shirt", option)[0] == 0


def test_rights__to_write_the_three_columns_are_enough_to_embed(role, run):
    add_shirts(3)
    role("SELECT ON tests_shirt", f"UPDATE ({DERIVED}) ON tests_shirt")
    code, _, err = run("embed_products", "tests.Shirt")
    assert code == 0, err
    assert Shirt.objects.ready().count() == 3


def test_rights__to_insert_are_needed_for_companions(role, run):
    name = default_storage.save("vases/bulk.png", picture_file("red"))
    Vase.objects.bulk_create([Vase(name="a", image=name)])
    role("SELECT ON tests_vase", "SELECT ON tests_vaselook", f"UPDATE ({DERIVED}) ON tests_vaselook")
    assert run("embed_products", "tests.VaseLook")[0] == 2
    sql("RESET ROLE")
    role("INSERT ON tests_vaselook")
    assert run("embed_products", "tests.VaseLook")[0] == 0
    assert VaseLook.objects.ready().count() == 1


def test_rights__that_are_missing_end_in_a_sentence(role, run):
    add_shirts(1)
    role("SELECT ON tests_shirt")
    code, _, err = run("embed_products", "tests.Shirt")
    assert code == 2
    assert "permission denied for table tests_shirt" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("colors")
def test_rights__to_read_the_rules_are_needed_where_they_are_installed(role):
    shirt = Shirt.objects.first()
    role("SELECT ON tests_shirt")
    with pytest.raises(ProgrammingError, match="permission denied for table"):
        Shirt.objects.similar_to(shirt).ranked(3)
    sql("RESET ROLE")
    role("SELECT ON similar_products_merchandising_rule", "SELECT ON django_content_type")
    assert len(Shirt.objects.similar_to(shirt).ranked(3)) == 3


@pytest.mark.parametrize("embed_on_save", ["inline", "off"])
def test_rights__to_write_the_columns_of_a_companion_are_needed_to_replace_a_picture(role, settings, embed_on_save):
    vase = Vase.objects.create(name="a", image=picture_file("red"))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": embed_on_save}
    role("SELECT, UPDATE ON tests_vase", "SELECT ON tests_vaselook")
    vase.image = picture_file("blue")
    with pytest.raises(ProgrammingError, match="permission denied for table tests_vaselook"):
        vase.save()
    sql("RESET ROLE")
    role(f"UPDATE ({DERIVED}) ON tests_vaselook")
    vase.image = picture_file("blue")
    vase.save()


def test_page__names_every_command():
    page = (ROOT / "docs" / "rights.md").read_text()
    commands = [path.stem for path in (ROOT / "similar_products" / "management" / "commands").glob("[a-z]*.py")]
    assert len(commands) == len(READING) + 2
    assert [command for command in commands if f"`{command}" not in page] == []
