"""What a newcomer forgets: each command ends with a sentence that says what to do, never with a traceback.

As a user meets it: a new project (pasted_shop.py) with the quick start's lines but one, and processes of its own.
"""

import re
import socket
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from tests.docs.pasted_shop import PastedShop
from tests.docs.snippets import BLOCKS

pytestmark = pytest.mark.slow

SETTINGS, MODELS, MIGRATION = "mysite/settings.py", "shop/models.py", "shop/migrations/0001_pgvector.py"
QUICK_START = {block.file: block.text for block in BLOCKS if block.page == "README.md" and not block.is_added}
QUICK_START[SETTINGS] = next(block.text for block in BLOCKS if block.page == "README.md" and block.file == SETTINGS)
ADVICE = "Run python manage.py check --database default, which says what is missing."
INSTALLED = 'INSTALLED_APPS += ["django.contrib.postgres", "similar_products", "shop"]'


@pytest.fixture(scope="module")
def new_shop(tmp_path_factory, django_db_setup, django_db_blocker) -> Iterator[Callable[..., PastedShop]]:
    """Gives a function that pastes the quick start into a new project, without what is forgotten."""
    with django_db_blocker.unblock():
        given = connection.get_connection_params()
    server = {name: given[name] for name in ("host", "port", "user", "password") if given.get(name)}
    folder = tmp_path_factory.mktemp("forgotten")
    shops = []

    def paste(name: str, *, settings: str = "", without: str = "", installed: str = INSTALLED) -> PastedShop:
        shop = PastedShop(folder / name, server)
        shops.append(shop)
        for file in (SETTINGS, MODELS, MIGRATION):
            if file != without:
                text = QUICK_START[file].replace(INSTALLED, installed)
                shop.write(file, f"{text}{settings}" if file == SETTINGS else text, is_added=file == SETTINGS)
        if not (shop.folder / MIGRATION).exists():
            shop.write("shop/migrations/__init__.py", "")
        return shop

    yield paste
    for shop in shops:
        shop.close()


def said(shop: PastedShop, command: str, exit_code: int) -> str:
    """Return what the command prints, which is no traceback, on lines without breaks."""
    shop.run(f"python manage.py {command}", exit_codes=(exit_code,))
    assert "Traceback" not in shop.output, shop.output
    return shop.output


def test_vector_extension__forgotten(new_shop):
    shop = new_shop("no_extension", without=MIGRATION)
    said(shop, "makemigrations shop", 0)
    for command in ("check --database default", "migrate"):
        text = said(shop, command, 1)
        assert "The database 'default' does not have the extension vector, and no migration creates it." in text
        assert "from pgvector.django import VectorExtension" in text
    assert f'error: relation "shop_product" does not exist. {ADVICE}' in said(shop, "embed_products", 2)
    # What the hint says.
    (migration,) = (shop.folder / "shop" / "migrations").glob("0001_initial.py")
    text = migration.read_text().replace("operations = [", "operations = [VectorExtension(),")
    migration.write_text(f"from pgvector.django import VectorExtension\n{text}")
    assert "Applying shop.0001_initial... OK" in said(shop, "migrate", 0)
    assert "shop.Product: 0 embedded." in said(shop, "embed_products", 0)


def test_installed_apps__forgotten(new_shop):
    shop = new_shop("not_installed", installed='INSTALLED_APPS += ["shop"]')
    for command in ("check", "makemigrations shop", "migrate", "runserver --noreload 0"):
        text = said(shop, command, 1)
        assert (
            "shop.Product: (similar_products.E025) shop.Product has vectors, but similar_products is not installed: "
            "nothing is embedded."
        ) in text
    assert "Unknown command: 'embed_products'" in said(shop, "embed_products", 1)
    hint = re.search(r"HINT: (INSTALLED_APPS .+)", said(shop, "check", 1))
    assert hint
    shop.write(SETTINGS, hint[1], is_added=True)
    assert said(shop, "check", 0) == "System check identified no issues (0 silenced).\n"


def test_database__sqlite(new_shop):
    shop = new_shop("sqlite")
    sqlite = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}\n'
    shop.write(SETTINGS, sqlite, is_added=True)
    said(shop, "check", 0)
    said(shop, "makemigrations shop", 0)
    for command in ("check --database default", "migrate"):
        text = said(shop, command, 1)
        assert "E009) The database 'default' is SQLite; vectors need PostgreSQL with pgvector." in text
    sentence = "CommandError: The database 'default' is SQLite; vectors need PostgreSQL with pgvector.\n"
    for command in ("embed_products", "embed_products --status", "evaluate_similarity --by name"):
        assert said(shop, command, 2) == sentence


def test_database__refuses_connections(new_shop):
    shop = new_shop("unreachable")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    elsewhere = f'DATABASES["default"] |= {{"HOST": "127.0.0.1", "PORT": "{port}", "PASSWORD": "secret"}}\n'
    shop.write(SETTINGS, elsewhere, is_added=True)
    said(shop, "check", 0)
    for command in ("check --database default", "migrate"):
        text = said(shop, command, 1)
        assert "(similar_products.E026) The database 'default' cannot be asked" in text
        assert "secret" not in text
    for command in ("embed_products", "find_duplicates", "embed_products --status"):
        text = said(shop, command, 2)
        assert re.search(rf"error: connection failed.+ Connection refused\. {re.escape(ADVICE)}", text), text
