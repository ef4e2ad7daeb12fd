"""System checks: what is wrong with a shop's set-up, in a sentence, with a remedy that can be pasted.

Static: E001 to E006, E016 to E019, E022 and E028; with ``check --deploy`` W015 and W023. With ``check --database
default`` and before ``migrate``: E009 to E011, E024, E026 and W011 to W014. docs/operating.md lists them. E025, that
the app is not installed, comes from the model itself, as none of these checks is registered then.
"""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.postgres.operations import CreateExtension
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connections, models, router
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunSQL
from django.db.migrations.operations.base import Operation
from django.db.models.fields.composite import CompositePrimaryKey
from django.db.models.signals import pre_migrate
from django.utils.module_loading import import_string
from pgvector.django import VectorField

from .conf import MAX_DIMENSIONS, get_settings
from .embedding.index_build import get_index, has_index
from .embedding.run import check_dimensions
from .embedding.schemas import quoted_table
from .encoders import Encoder, EncoderError, get_encoder
from .encoders.litert import INSTALL, is_installed
from .encoders.model import ModelEncoder
from .models import VisuallySimilarModel, database_problem, get_holders
from .pictures import fetch
from .query import SimilarManager
from .search.bands import get_bands
from .search.placement import declared_through, get_placement, picture_field
from .search.scan import RESULT_NAMES

AppConfigs: TypeAlias = Sequence[AppConfig] | None
Check: TypeAlias = Callable[..., list[CheckMessage]]

WHERE_PGVECTOR_COMES_FROM = (
    "https://github.com/django-similar-products/django-similar-products/blob/main/docs/installing.md"
)
RANDOM_PAGE_COST = 2.0
"""At PostgreSQL's default of 4 a table of 10,000 products gets a sequential scan: 50-82 ms instead of 1-3."""


def register_all() -> None:
    """Register the checks; called by ``SimilarProductsConfig.ready``."""
    register(check_settings, "similar_products")
    register(check_bands, "similar_products")
    register(check_fetch_urls, "similar_products")
    register(check_products, Tags.models)
    register(check_result_names, Tags.models)
    register(check_installed_apps, "similar_products")
    register(check_models, Tags.models)
    register(check_databases, Tags.database)
    register(check_runtime, "similar_products")
    register(check_model, "similar_products", deploy=True)
    pre_migrate.connect(refuse_keys, sender=apps.get_app_config("similar_products"))


def refuse_keys(**kwargs: Any) -> None:
    """Raise ``SystemCheckError`` for E028 before there is a table, where checks are skipped, as in ``call_command``."""
    if messages := [message for holder in get_holders() for message in _check_key(holder)]:
        raise SystemCheckError("\n".join(map(str, messages)))


def needs_settings(check: Check) -> Check:
    """Return ``check`` without an answer where the settings are wrong, which E005 says."""

    @wraps(check)
    def checked(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
        try:
            get_settings()
        except ImproperlyConfigured:
            return []
        return check(app_configs, **kwargs)

    return checked


def check_settings(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E005: ``SIMILAR_PRODUCTS`` has a mistake, or its encoder cannot be made."""
    try:
        get_encoder()
    except ImproperlyConfigured as error:
        hint = (
            'The default is SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "similar_products.encoders.TFHubEncoder", '
            '"OPTIONS": {}}, "EMBED_ON_SAVE": "inline"}.'
        )
        return [Error(str(error), hint=hint, id="similar_products.E005")]
    return []


@needs_settings
def check_bands(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E016: the file of bands that the settings name is missing or wrong."""
    try:
        get_bands("")
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Run: python manage.py calibrate_similarity", id="similar_products.E016")]
    return []


@needs_settings
def check_fetch_urls(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E017: search by URL is on, and the packages that it needs are missing."""
    if not get_settings().fetch_urls or fetch.is_installed():
        return []
    return [Error(f"{fetch.PACKAGES_MISSING}.", hint=f"Run: {fetch.INSTALL}", id="similar_products.E017")]


@needs_settings
def check_products(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E018: an entry of ``PRODUCTS`` names a model, a relation, a field or a function that is not there."""
    messages: list[CheckMessage] = []
    for label, given in get_settings().products.items():
        try:
            model = apps.get_model(label)
            get_placement(model, given.through)
            if given.variants and not getattr(model._meta.get_field(given.variants), "column", None):
                raise TypeError(f"VARIANTS is {given.variants!r}, which is no field of the model's own table")
            for path in filter(None, (given.visible, given.fallback)):
                if not callable(import_string(path)):
                    raise TypeError(f"{path} cannot be called")
        except (LookupError, ValueError, FieldDoesNotExist, TypeError, ImportError) as error:
            messages.append(
                Error(
                    f"SIMILAR_PRODUCTS['PRODUCTS'][{label!r}] cannot be used: {str(error).rstrip('.')}.",
                    hint="Name the model as in 'shop.Product', THROUGH and VARIANTS by its fields, and VISIBLE and "
                    "FALLBACK by the dotted paths of functions.",
                    id="similar_products.E018",
                )
            )
    return messages


@needs_settings
def check_result_names(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E019: a product model has a field or attribute of a name that each result is given."""
    return [
        Error(
            f"{model._meta.label} has {name!r} of its own, which similar_to() gives each result: it would be written "
            "over, and saved.",
            hint="Give the model's another name; its db_column may stay.",
            obj=model,
            id="similar_products.E019",
        )
        for model in apps.get_models()
        if issubclass(model, VisuallySimilarModel) or declared_through(model)
        for name in RESULT_NAMES
        if hasattr(model, name)
    ]


def check_installed_apps(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E001: ``django.contrib.postgres`` is missing."""
    if apps.is_installed("django.contrib.postgres"):
        return []
    return [
        Error(
            "django.contrib.postgres is not in INSTALLED_APPS; without it Django writes the vector index with "
            "wrong parentheses.",
            hint='INSTALLED_APPS += ["django.contrib.postgres"]',
            id="similar_products.E001",
        )
    ]


def check_runtime(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E022: nothing is installed that could run the encoder's model."""
    if not isinstance(_encoder(), ModelEncoder) or is_installed():
        return []
    return [
        Error(
            "LiteRT, which runs the encoder's model, is not installed.",
            hint=f"Run: {INSTALL} - or, where it has no wheel: pip install 'django-similar-products[tensorflow]'",
            id="similar_products.E022",
        )
    ]


def check_model(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """W015, W023: web processes would load TensorFlow, or cannot open the encoder's model at all."""
    encoder = _encoder()
    if settings.DEBUG or not isinstance(encoder, ModelEncoder):
        return []
    try:
        if encoder.needs_preparing:
            sentence = f"The model of the encoder {encoder.name} has not been converted on this machine."
            hint = (
                "Run: python manage.py embed_products - or in a build, without a database: python manage.py shell -c "
                '"from similar_products.encoders import load_model; load_model()"'
            )
        elif encoder.refusal:
            return [_tensorflow_is_loaded()]
        else:
            return []
    except EncoderError as error:
        sentence, hint = str(error), "Correct the encoder's OPTIONS, or copy the model to this machine."
    sentence += " Until then no search by photo works here, and saved pictures stay pending."
    return [checks.Warning(sentence, hint=hint, id="similar_products.W023")]


def _tensorflow_is_loaded() -> CheckMessage:
    hint = "Let processes of their own search by photo."
    if get_settings().embed_on_save == "inline":
        hint = (
            'Set SIMILAR_PRODUCTS = {**SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "tasks"} and run a worker (docs/queues.md), '
            'or "off" there and run embed_products from cron; let processes of their own search by photo.'
        )
    return checks.Warning(
        "LiteRT cannot run the encoder's model: every process that saves a picture or searches by photo loads "
        "TensorFlow, 2 s and about 600 MB.",
        hint=hint,
        id="similar_products.W015",
    )


def _encoder() -> Encoder | None:
    """Return the encoder of the settings, or ``None`` where it cannot be made, which E005 says."""
    try:
        return get_encoder()
    except ImproperlyConfigured:
        return None


def check_models(app_configs: AppConfigs, **kwargs: Any) -> list[CheckMessage]:
    """E002, E003, E004, E006, E028: a model's picture, dimensions, manager or key."""
    wanted = None if app_configs is None else {config.label for config in app_configs}
    holders = [holder for holder in get_holders() if wanted is None or holder._meta.app_label in wanted]
    return [message for holder in holders for message in _check_model(holder)]


def _check_model(holder: type[VisuallySimilarModel]) -> list[CheckMessage]:
    return [*_check_picture(holder), *_check_embedding(holder), *_check_manager(holder), *_check_key(holder)]


def _check_key(model: type[models.Model]) -> list[CheckMessage]:
    if not isinstance(model._meta.pk, CompositePrimaryKey):
        return []
    return [
        Error(
            f"{model._meta.label} has a composite primary key, by which rows with vectors cannot be told apart.",
            hint="Give it one field as primary key and a UniqueConstraint on the others.",
            obj=model,
            id="similar_products.E028",
        )
    ]


def _check_picture(holder: type[VisuallySimilarModel]) -> list[CheckMessage]:
    try:
        picture_field(holder)
    except FieldDoesNotExist as error:
        hint = 'Set similar_image = "FIELD" on the model, or "RELATION__FIELD" for a companion.'
        return [Error(str(error), hint=hint, obj=holder, id="similar_products.E002")]
    return []


def _check_embedding(holder: type[VisuallySimilarModel]) -> list[CheckMessage]:
    field = holder._meta.get_field("embedding")
    if not isinstance(field, VectorField) or not 1 <= (field.dimensions or 0) <= MAX_DIMENSIONS:
        return [
            Error(
                f"{holder._meta.label}.embedding must be a pgvector VectorField of 1 to {MAX_DIMENSIONS:,} dimensions, "
                "the most that can be indexed.",
                hint="embedding = VectorField(dimensions=1280, null=True, blank=True, editable=False, serialize=False)",
                obj=holder,
                id="similar_products.E004",
            )
        ]
    encoder = _encoder()
    try:
        if encoder is not None:
            check_dimensions(holder, encoder)
    except EncoderError as error:
        sentence, _, remedy = str(error).partition(". ")
        return [Error(f"{sentence}.", hint=remedy, obj=holder, id="similar_products.E003")]
    return []


def _check_manager(holder: type[VisuallySimilarModel]) -> list[CheckMessage]:
    if isinstance(holder._default_manager, SimilarManager):
        return []
    return [
        Error(
            f"The default manager of {holder._meta.label} is not a SimilarManager: it loads every vector and has no "
            "similar_to().",
            hint="objects = SimilarManager(), or derive your manager from SimilarManager and your queryset "
            "from SimilarQuerySet (both in similar_products.query).",
            obj=holder,
            id="similar_products.E006",
        )
    ]


def check_databases(
    app_configs: AppConfigs, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E009 to E011, E024, E026, W011 to W014: PostgreSQL and pgvector as models need them, where a router puts them."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        holders = [holder for holder in get_holders() if router.allow_migrate_model(alias, holder)]
        if holders and (sentence := database_problem(alias)):
            messages.append(
                Error(
                    sentence,
                    hint=f'Set "ENGINE": "django.db.backends.postgresql" in DATABASES[{alias!r}], with the NAME, USER, '
                    "PASSWORD, HOST and PORT of a PostgreSQL database.",
                    id="similar_products.E009",
                )
            )
        elif holders:
            messages += _check_server(alias, holders)
    return messages


def _check_server(alias: str, holders: list[type[VisuallySimilarModel]]) -> list[CheckMessage]:
    try:
        return _check_database(alias, holders)
    except OperationalError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        return [
            Error(
                f"The database {alias!r} cannot be asked whether it has what vectors need: {reason}.",
                hint=f"Start PostgreSQL, or correct NAME, USER, PASSWORD, HOST and PORT of DATABASES[{alias!r}].",
                id="similar_products.E026",
            )
        ]


def _check_database(alias: str, holders: list[type[VisuallySimilarModel]]) -> list[CheckMessage]:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT default_version, installed_version, current_setting('random_page_cost')::float "
            "FROM (SELECT) AS one LEFT JOIN pg_available_extensions ON name = 'vector'"
        )
        available, installed, random_page_cost = cursor.fetchone()
    if installed is None:
        return _check_extension(alias, available, holders)
    return [
        *_check_version(alias, installed),
        *_check_planner(alias, random_page_cost),
        *_check_indexes(alias, holders),
        *_check_prepared_statements(alias),
    ]


def _check_planner(alias: str, random_page_cost: float) -> list[CheckMessage]:
    if random_page_cost <= RANDOM_PAGE_COST:
        return []
    name = connections[alias].settings_dict["NAME"]
    return [
        checks.Warning(
            f"random_page_cost is {random_page_cost:g} in the database {alias!r}, PostgreSQL's value for "
            "spinning disks; it makes the planner scan whole tables instead of using the vector index.",
            hint=f"On SSDs run: ALTER DATABASE {name} SET random_page_cost = 1.1;",
            id="similar_products.W012",
        )
    ]


def _check_indexes(alias: str, holders: list[type[VisuallySimilarModel]]) -> list[CheckMessage]:
    return [
        checks.Warning(
            f"The HNSW index of {holder._meta.label} is missing or invalid in the database {alias!r}; similar "
            "products are found by scanning the whole table.",
            hint=f"Run: python manage.py embed_products {holder._meta.label}",
            obj=holder,
            id="similar_products.W013",
        )
        for holder in holders
        if _has_table(holder, alias) and get_index(holder) and not has_index(holder, alias)
    ]


def _has_table(holder: type[VisuallySimilarModel], alias: str) -> bool:
    """Return whether the model's table exists, in whatever schema its name means."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [quoted_table(holder, alias)])
        return bool(cursor.fetchone()[0])


def _check_prepared_statements(alias: str) -> list[CheckMessage]:
    options = connections[alias].settings_dict.get("OPTIONS", {})
    if not options.get("server_side_binding") and options.get("prepare_threshold") is None:
        return []
    return [
        checks.Warning(
            f"The database {alias!r} prepares statements on the server; a generic plan took a filter that "
            "matches few products from 0.25 to 90 ms.",
            hint="Remove server_side_binding and prepare_threshold from its OPTIONS.",
            id="similar_products.W014",
        )
    ]


def _check_extension(
    alias: str, available: str | None, holders: list[type[VisuallySimilarModel]]
) -> list[CheckMessage]:
    if available is None:
        return [
            Error(
                f"The server of the database {alias!r} does not have pgvector.",
                hint="Install it there: on Debian and Ubuntu apt install postgresql-17-pgvector, from PostgreSQL's "
                "own repository, on macOS brew install pgvector, with Docker the image pgvector/pgvector:pg17. Amazon "
                "RDS, Cloud SQL, Supabase and Neon have it; Azure asks for VECTOR in azure.extensions. More: "
                f"{WHERE_PGVECTOR_COMES_FROM}",
                id="similar_products.E010",
            )
        ]
    operations = (
        operation for migration in MigrationLoader(None).disk_migrations.values() for operation in migration.operations
    )
    if any(_creates_extension(operation) for operation in operations):
        return []  # the next migrate does
    return [
        Error(
            f"The database {alias!r} does not have the extension vector, and no migration creates it.",
            hint="Put VectorExtension() first into the operations of the migration that adds the embedding of "
            f"{holders[0]._meta.label}: from pgvector.django import VectorExtension",
            id="similar_products.E024",
        )
    ]


def _creates_extension(operation: Operation) -> bool:
    if isinstance(operation, RunSQL):
        return re.search(r"create\s+extension.*\bvector\b", str(operation.sql), re.IGNORECASE) is not None
    return isinstance(operation, CreateExtension) and operation.name == "vector"


def _check_version(alias: str, installed: str) -> list[CheckMessage]:
    version = tuple(int(part) for part in re.findall(r"\d+", installed)[:3])
    hint = "Install a newer pgvector on the server, then run: ALTER EXTENSION vector UPDATE;"
    if version < (0, 8, 0):
        return [
            Error(
                f"pgvector is {installed} in the database {alias!r}; filtered queries need the iterative scans "
                "of 0.8.0.",
                hint=hint,
                id="similar_products.E011",
            )
        ]
    if version < (0, 8, 4):
        return [
            checks.Warning(
                f"pgvector is {installed} in the database {alias!r}; versions before 0.8.4 have a buffer "
                "overflow and can damage an index.",
                hint=hint,
                id="similar_products.W011",
            )
        ]
    return []
