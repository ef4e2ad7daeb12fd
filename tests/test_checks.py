import re
from pathlib import Path

import pytest
from django.apps import apps
from django.core.checks import WARNING, CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection, migrations, models
from django.db.models.signals import pre_migrate
from django.test.utils import isolate_apps
from pgvector.django import VectorExtension, VectorField

from similar_products import checks
from similar_products.conf import get_settings
from similar_products.encoders import TFHubEncoder, litert
from similar_products.encoders.conversion import file_name, refusal_file
from similar_products.models import VisuallySimilarModel
from similar_products.query import SimilarManager
from tests.models import CheapShirt, PrintedShirt, Shirt

HISTOGRAM = "similar_products.encoders.ColorHistogramEncoder"


def test_checks__are_silent_on_a_sound_project():
    assert [message for message in run_checks() if message.id.startswith("similar_products")] == []


@pytest.mark.django_db
def test_checks__are_silent_on_a_sound_database():
    connection.cursor().execute("SET LOCAL random_page_cost = 1.1")
    assert checks.check_databases(None, databases=["default"]) == []


def only(messages, identifier: str):
    (message,) = [message for message in messages if message.id == f"similar_products.{identifier}"]
    return message


def test_e001__django_contrib_postgres_is_missing(monkeypatch):
    installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "django.contrib.postgres" and installed(name))
    message = only(run_checks(tags=["similar_products"]), "E001")
    assert message.msg == (
        "django.contrib.postgres is not in INSTALLED_APPS; without it Django writes the vector index with wrong "
        "parentheses."
    )
    assert message.hint == 'INSTALLED_APPS += ["django.contrib.postgres"]'


@pytest.fixture
def rug(request):
    """Return a function that makes a model in a registry of its own."""
    with isolate_apps("tests"):

        def make(**attributes) -> type[VisuallySimilarModel]:
            class Meta:
                app_label = "tests"

            return type("Rug", (VisuallySimilarModel,), {"__module__": __name__, "Meta": Meta, **attributes})

        yield make


def test_e002__picture_that_leads_nowhere(rug):
    message = only(checks._check_model(rug(photo=models.ImageField())), "E002")
    assert message.msg == (
        "tests.Rug.similar_image is 'image', but tests.Rug has no field 'image'; "
        "file fields and relations there: photo."
    )
    assert message.hint == 'Set similar_image = "FIELD" on the model, or "RELATION__FIELD" for a companion.'


def test_e003__dimensions_of_the_encoder(rug, settings):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": HISTOGRAM, "OPTIONS": {"dimensions": 256}}}
    message = only(checks._check_model(rug(image=models.ImageField())), "E003")
    assert message.msg == "tests.Rug.embedding has 1280 dimensions and the encoder color-histogram-256 gives 256."
    assert message.hint == (
        "Declare embedding = VectorField(dimensions=256, null=True, blank=True, editable=False, serialize=False) "
        "on the model and run makemigrations and migrate, or choose another encoder."
    )


@pytest.mark.parametrize("field", [VectorField(dimensions=4001, null=True), VectorField(null=True), models.TextField()])
def test_e004__dimensions_that_cannot_be_indexed(rug, field):
    message = only(checks._check_model(rug(image=models.ImageField(), embedding=field)), "E004")
    assert message.msg == (
        "tests.Rug.embedding must be a pgvector VectorField of 1 to 4,000 dimensions, the most that can be indexed."
    )


def test_e005__mistake_in_the_settings(settings):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "nowhere.Encoder"}}
    message = only(run_checks(tags=["similar_products"]), "E005")
    assert message.msg.startswith(
        "SIMILAR_PRODUCTS['ENCODER']['BACKEND'] is 'nowhere.Encoder', which cannot be imported"
    )
    assert '"similar_products.encoders.TFHubEncoder"' in message.hint
    assert not [message for message in run_checks(tags=["models"]) if message.id == "similar_products.E003"]


def test_e006__manager_replaced(rug):
    message = only(checks._check_model(rug(image=models.ImageField(), objects=models.Manager())), "E006")
    assert message.msg == (
        "The default manager of tests.Rug is not a SimilarManager: it loads every vector and has no similar_to()."
    )


def test_e006__manager_made_of_the_queryset_alone(rug):
    from similar_products.query import SimilarQuerySet

    only(checks._check_model(rug(image=models.ImageField(), objects=SimilarQuerySet.as_manager())), "E006")


def test_e016__file_of_bands_is_missing(settings, tmp_path):
    path = tmp_path / "bands.json"
    settings.SIMILAR_PRODUCTS = {"BANDS": path}
    message = only(run_checks(tags=["similar_products"]), "E016")
    assert message.msg == (
        f"SIMILAR_PRODUCTS['BANDS'] is '{path}', which does not exist; run calibrate_similarity to write it, or leave "
        "BANDS out for the shipped bands."
    )
    assert message.hint == "Run: python manage.py calibrate_similarity"
    path.write_text("{}")
    assert run_checks(tags=["similar_products"]) == []


def test_e016__file_of_bands_is_something_else(settings, tmp_path):
    path = tmp_path / "bands.json"
    path.write_text("[]")
    settings.SIMILAR_PRODUCTS = {"BANDS": path}
    message = only(run_checks(tags=["similar_products"]), "E016")
    assert message.msg == (
        f"SIMILAR_PRODUCTS['BANDS'] is '{path}', which cannot be used: It must be an object with an entry for each "
        "encoder's name. Correct it, or move it away and run calibrate_similarity."
    )


def test_e016__leaves_mistakes_in_the_settings_to_e005(settings):
    settings.SIMILAR_PRODUCTS = {"BANDS": 0.9}
    assert [message.id for message in run_checks(tags=["similar_products"])] == ["similar_products.E005"]


class Elsewhere:
    def allow_migrate(self, db, app_label, **hints):
        return False


def test_check_databases__leaves_databases_alone_that_a_router_keeps_free(settings, monkeypatch):
    settings.DATABASE_ROUTERS = [Elsewhere()]
    monkeypatch.setattr(connection, "vendor", "sqlite")
    assert checks.check_databases(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("operation", "creates"),
    [
        (VectorExtension(), True),
        (migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS vector"), True),
        (migrations.RunSQL("CREATE EXTENSION hstore"), False),
        (migrations.AddField("shirt", "vector", models.TextField()), False),
    ],
)
def test_creates_extension__by_operation_or_sql(operation, creates):
    assert checks._creates_extension(operation) is creates


def test_check_models__looks_at_the_named_apps_only(monkeypatch):
    looked = []
    monkeypatch.setattr(checks, "_check_model", lambda holder: looked.append(holder._meta.app_label) or [])
    run_checks(app_configs=[apps.get_app_config("tests")], tags=["models"])
    assert set(looked) == {"tests"}


def test_e009__other_database(monkeypatch):
    monkeypatch.setattr(connection, "vendor", "sqlite")
    message = only(checks.check_databases(None, databases=["default"]), "E009")
    assert "vectors need PostgreSQL with pgvector" in message.msg
    assert message.hint == (
        'Set "ENGINE": "django.db.backends.postgresql" in DATABASES[\'default\'], with the NAME, USER, PASSWORD, HOST '
        "and PORT of a PostgreSQL database."
    )


@pytest.mark.parametrize(
    ("available", "has_migration", "sentence"),
    [
        (None, True, "The server of the database 'default' does not have pgvector."),
        ("0.8.5", False, "The database 'default' does not have the extension vector, and no migration creates it."),
        ("0.8.5", True, None),
    ],
)
def test_e010__extension_is_missing(monkeypatch, available, has_migration, sentence):
    if not has_migration:
        monkeypatch.setattr(checks.MigrationLoader, "disk_migrations", {}, raising=False)
        monkeypatch.setattr(checks.MigrationLoader, "build_graph", lambda self: None)
        monkeypatch.setattr(checks.MigrationLoader, "__init__", lambda self, connection: None)
    messages = checks._check_extension("default", available, [Shirt])
    assert [message.msg for message in messages] == ([sentence] if sentence else [])
    assert all(message.is_serious() for message in messages)


def test_e010__hint_says_where_pgvector_comes_from():
    (message,) = checks._check_extension("default", None, [Shirt])
    assert message.id == "similar_products.E010"
    for way in (
        "apt install postgresql-17-pgvector",
        "brew install pgvector",
        "pgvector/pgvector:pg17",
        "RDS",
        "Azure",
    ):
        assert way in message.hint
    page = message.hint.rpartition("/main/")[2]
    assert (Path(__file__).parents[1] / page).read_text().startswith("# Where pgvector comes from")


def test_e025__app_is_not_installed(monkeypatch, rug):
    model = rug(image=models.ImageField())
    assert [message for message in model.check() if message.id.startswith("similar_products")] == []
    installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "similar_products" and installed(name))
    message = only(model.check(), "E025")
    assert message.msg == "tests.Rug has vectors, but similar_products is not installed: nothing is embedded."
    assert message.hint == "INSTALLED_APPS += ['similar_products']"


def test_e026__database_does_not_answer(monkeypatch):
    def refuse():
        raise OperationalError("connection failed: Connection refused\n\tIs the server running?")

    monkeypatch.setattr(connection, "cursor", refuse)
    message = only(checks.check_databases(None, databases=["default"]), "E026")
    assert message.msg == (
        "The database 'default' cannot be asked whether it has what vectors need: connection failed: Connection "
        "refused."
    )
    assert message.hint == ("Start PostgreSQL, or correct NAME, USER, PASSWORD, HOST and PORT of DATABASES['default'].")


@pytest.mark.django_db
def test_e010__database_without_the_extension_before_the_first_migrate():
    """The demo's own migration creates it, so the check lets the first migrate through."""
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION vector CASCADE")
    assert checks.check_databases(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("version", "identifier"),
    [
        ("0.7.4", "E011"),
        ("0.8.0", "W011"),
        ("0.8.3", "W011"),
        ("0.8.4", None),
        ("0.10.0", None),
        ("1.0.0", None),
        ("0.9.0-dev", None),
    ],
)
def test_e011_w011__version_of_pgvector(version, identifier):
    messages = checks._check_version("default", version)
    assert [message.id for message in messages] == ([f"similar_products.{identifier}"] if identifier else [])
    if identifier:
        assert f"pgvector is {version} in the database 'default'" in messages[0].msg
        assert "ALTER EXTENSION vector UPDATE;" in messages[0].hint


@pytest.mark.django_db
def test_w012__random_page_cost_that_loses_the_index():
    connection.cursor().execute("SET LOCAL random_page_cost = 4")
    message = only(checks.check_databases(None, databases=["default"]), "W012")
    assert message.msg == (
        "random_page_cost is 4 in the database 'default', PostgreSQL's value for spinning disks; it makes the "
        "planner scan whole tables instead of using the vector index."
    )
    assert message.hint == (
        f"On SSDs run: ALTER DATABASE {connection.settings_dict['NAME']} SET random_page_cost = 1.1;"
    )


@pytest.mark.django_db
def test_w013__index_is_missing():
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX shirt_9a438cef_hnsw")
    message = only(checks.check_databases(None, databases=["default"]), "W013")
    assert message.msg.startswith("The HNSW index of tests.Shirt is missing or invalid in the database 'default'")
    assert message.hint == "Run: python manage.py embed_products tests.Shirt"


@pytest.mark.django_db
@pytest.mark.parametrize("options", [{"server_side_binding": True}, {"prepare_threshold": 5}])
def test_w014__statements_prepared_on_the_server(monkeypatch, options):
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    message = only(checks.check_databases(None, databases=["default"]), "W014")
    assert message.hint == "Remove server_side_binding and prepare_threshold from its OPTIONS."


HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"


@pytest.fixture
def hub_model(settings, monkeypatch, tmp_path) -> Path:
    """The settings name a model of TF-Hub; the folder of converted models, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": HANDLE}}
    }
    (folder := tmp_path / "similar_products").mkdir()
    return folder


def deployment_messages() -> list[CheckMessage]:
    return run_checks(include_deployment_checks=True, tags=["similar_products"])


def test_e022__nothing_runs_the_model(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {}
    monkeypatch.setattr(litert, "find_spec", lambda package: None)
    message = only(run_checks(tags=["similar_products"]), "E022")
    assert message.msg == "LiteRT, which runs the encoder's model, is not installed."
    assert message.hint == (
        "Run: pip install ai-edge-litert - or, where it has no wheel: pip install 'django-similar-products[tensorflow]'"
    )
    monkeypatch.setattr(litert, "find_spec", lambda package: package == "tensorflow")
    assert run_checks(tags=["similar_products"]) == []
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"}}
    monkeypatch.setattr(litert, "find_spec", lambda package: None)
    assert run_checks(tags=["similar_products"]) == []


def test_w023__model_that_is_not_converted(hub_model):
    message = only(deployment_messages(), "W023")
    assert message.level == WARNING
    assert message.msg == (
        "The model of the encoder google/imagenet/mobilenet_v2_100_224/feature_vector/5-224-fit1 has not been "
        "converted on this machine. Until then no search by photo works here, and saved pictures stay pending."
    )
    content = b"a model"
    (hub_model / file_name(TFHubEncoder(HANDLE).conversion_key, content)).write_bytes(content)
    assert deployment_messages() == []


def test_w023__model_that_is_not_there(settings):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"OPTIONS": {"handle": "/no/such/folder"}}}
    message = only(deployment_messages(), "W023")
    assert message.msg.startswith("There is no folder /no/such/folder; the handle is")
    assert message.hint == "Correct the encoder's OPTIONS, or copy the model to this machine."


def test_w015__model_that_only_tensorflow_runs(hub_model, settings):
    refusal_file(hub_model, TFHubEncoder(HANDLE).conversion_key).write_text("the converter says: no.")
    message = only(deployment_messages(), "W015")
    assert message.level == WARNING
    assert message.msg == (
        "LiteRT cannot run the encoder's model: every process that saves a picture or searches by photo loads "
        "TensorFlow, 2 s and about 600 MB."
    )
    assert message.hint == (
        'Set SIMILAR_PRODUCTS = {**SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "tasks"} and run a worker (docs/queues.md), or '
        '"off" there and run embed_products from cron; let processes of their own search by photo.'
    )
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "off"}
    assert only(deployment_messages(), "W015").hint == "Let processes of their own search by photo."


@pytest.mark.parametrize(
    "given", [{}, {"ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"}}, {"EF_SEARCH": "wrong"}]
)
def test_w015_and_w023__are_silent_where_litert_runs_the_model(settings, given):
    settings.SIMILAR_PRODUCTS = given
    assert checks.check_model(None) == []


def test_w023__is_silent_in_development(hub_model, settings):
    settings.DEBUG = True
    assert checks.check_model(None) == []


@pytest.mark.django_db
def test_check_command__runs_the_database_checks(capsys):
    connection.cursor().execute("SET LOCAL random_page_cost = 4")
    call_command("check", databases=["default"])
    assert "(similar_products.W012)" in capsys.readouterr().err


def test_checks__of_a_project_without_models_ask_no_database(monkeypatch):
    monkeypatch.setattr(checks, "get_holders", list)
    assert checks.check_databases(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("products", "sentence"),
    [
        ({"shop": {}}, "SIMILAR_PRODUCTS['PRODUCTS']['shop'] cannot be used: not enough values to unpack"),
        ({"tests.Nothing": {}}, "['tests.nothing'] cannot be used: App 'tests' doesn't have a 'nothing' model."),
        ({"tests.Order": {}}, "['tests.order'] cannot be used: tests.Order, which is not derived from"),
        ({"tests.Rug": {"THROUGH": "pictures"}}, "['tests.rug'] cannot be used: Rug has no field named 'pictures'."),
        ({"tests.Shirt": {"VARIANTS": "style"}}, "['tests.shirt'] cannot be used: Shirt has no field named 'style'."),
        (
            {"tests.Rug": {"THROUGH": "photos__look", "VARIANTS": "children"}},
            "['tests.rug'] cannot be used: VARIANTS is 'children', which is no field of the model's own table.",
        ),
        ({"tests.Shirt": {"VISIBLE": "os.sep"}}, "['tests.shirt'] cannot be used: os.sep cannot be called."),
        ({"tests.Shirt": {"VISIBLE": "no.where"}}, "['tests.shirt'] cannot be used: No module named 'no'."),
    ],
)
def test_e018__product_settings_that_lead_nowhere(settings, products, sentence):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": products}
    message = only(run_checks(tags=["models"]), "E018")
    assert sentence in message.msg
    assert message.hint == (
        "Name the model as in 'shop.Product', THROUGH and VARIANTS by its fields, and VISIBLE and FALLBACK by the "
        "dotted paths of functions."
    )


def test_e019__name_that_each_result_is_given(monkeypatch):
    monkeypatch.setattr(Shirt, "likeness", "a portrait", raising=False)
    messages = [message for message in run_checks(tags=["models"]) if message.id == "similar_products.E019"]
    assert {message.obj for message in messages} == {Shirt, CheapShirt, PrintedShirt}
    assert messages[0].msg == (
        "tests.Shirt has 'likeness' of its own, which similar_to() gives each result: it would be written over, and "
        "saved."
    )
    assert messages[0].hint == "Give the model's another name; its db_column may stay."


# What a hint says to paste is pasted.


def pasted(hint: str | None, **names: object) -> dict[str, object]:
    """Return the names that the first assignment in a hint makes."""
    found = re.search(r"\w+ \+?= .+?(?= on the model| and run |\.$|, or |$)", hint or "")
    assert found, hint
    exec(found[0], names)
    return names


def test_hints_of_e001_and_e025__install_the_apps(rug, monkeypatch):
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    hints = [checks.check_installed_apps(None)[0].hint, only(rug(image=models.ImageField()).check(), "E025").hint]
    assert pasted(hints[0], INSTALLED_APPS=["shop"])["INSTALLED_APPS"] == ["shop", "django.contrib.postgres"]
    assert pasted(hints[1], INSTALLED_APPS=[])["INSTALLED_APPS"] == ["django.contrib.postgres", "similar_products"]


@pytest.mark.parametrize(
    ("identifier", "wrong"),
    [
        ("E003", {"embedding": VectorField(dimensions=7, null=True)}),
        ("E004", {"embedding": models.TextField()}),
        ("E006", {"objects": models.Manager()}),
    ],
)
def test_hints_on_models__make_the_model_right(rug, identifier, wrong):
    hint = only(checks._check_model(rug(image=models.ImageField(), **wrong)), identifier).hint
    (name,) = wrong
    right = pasted(hint, VectorField=VectorField, SimilarManager=SimilarManager)[name]
    with isolate_apps("tests"):
        assert checks._check_model(rug(image=models.ImageField(), **{name: right})) == []


def test_hints_on_settings__are_settings(settings, hub_model):
    refusal_file(hub_model, TFHubEncoder(HANDLE).conversion_key).write_text("the converter says: no.")
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "MODEL_CACHE": hub_model}
    hint = only(deployment_messages(), "W015").hint
    settings.SIMILAR_PRODUCTS = pasted(hint, SIMILAR_PRODUCTS=settings.SIMILAR_PRODUCTS)["SIMILAR_PRODUCTS"]
    assert get_settings().embed_on_save == "tasks"
    assert get_settings().model_cache == hub_model
    settings.SIMILAR_PRODUCTS = {"EF_SEARCH": "wrong"}
    settings.SIMILAR_PRODUCTS = pasted(only(run_checks(tags=["similar_products"]), "E005").hint)["SIMILAR_PRODUCTS"]
    assert run_checks(tags=["similar_products"]) == []


@pytest.mark.django_db
def test_hints_in_sql__can_be_run():
    for hint in (checks._check_version("default", "0.7.4")[0].hint, checks._check_planner("default", 4)[0].hint):
        with connection.cursor() as cursor:
            cursor.execute(hint.rpartition("run: ")[2])


@isolate_apps("tests")
def test_e028__a_composite_primary_key(monkeypatch):
    class Tile(VisuallySimilarModel):
        pk = models.CompositePrimaryKey("shop", "number")
        shop = models.IntegerField()
        number = models.IntegerField()
        image = models.ImageField()

        class Meta:
            app_label = "tests"

    monkeypatch.setattr(checks, "get_holders", lambda: [Tile])
    message = only(checks.check_models(None), "E028")
    assert message.msg == ("tests.Tile has a composite primary key, by which rows with vectors cannot be told apart.")
    assert message.hint == "Give it one field as primary key and a UniqueConstraint on the others."
    with pytest.raises(SystemCheckError, match="composite primary key"):  # where checks are skipped, before its table
        pre_migrate.send(apps.get_app_config("similar_products"), plan=[])


@pytest.mark.django_db
def test_w013__sees_the_table_of_another_schema(monkeypatch):
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA catalog")
        cursor.execute("CREATE TABLE catalog.shirt (LIKE tests_shirt)")
    monkeypatch.setattr(Shirt._meta, "db_table", 'catalog"."shirt')
    assert "tests.Shirt" in only(checks._check_indexes("default", [Shirt]), "W013").msg
    monkeypatch.setattr(Shirt._meta, "db_table", 'catalog"."trousers')
    assert checks._check_indexes("default", [Shirt]) == []
