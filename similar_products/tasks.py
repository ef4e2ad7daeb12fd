"""Embedding one product by its key: what a save does at once and what the worker of a queue does later.

Keys travel as text and the rows are read anew, so a task may come late, twice, or after its product is gone.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import django
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS
from django.db.models import FileField
from django.db.models.constants import LOOKUP_SEP

from .embedding.run import RETRY_DELAYS, create_companions, embed
from .models import VisuallySimilarModel, get_holders
from .query import SimilarQuerySet
from .search.placement import picture_field


def embed_product(
    model_label: str, pk: str, using: str = DEFAULT_DB_ALIAS, *, retry_delays: Sequence[float] = RETRY_DELAYS
) -> None:
    """Embed the picture of one product where it is pending, on its own row or on that of its companion.

    ``model_label`` names the model that has the picture, as in ``"shop.Product"``; ``pk`` is the product's key
    as text, ``using`` the alias of its database. What a storage or another process kept from us is tried again
    after each of ``retry_delays`` (seconds), then left pending. Returns nothing; a second call finds nothing to
    do, nor does a call for a product that is gone.

    Raises ``LookupError`` where the label names no model with such a picture, ``ValidationError`` where ``pk``
    is no key of it, and whatever keeps the encoder or the database from working: the product stays pending,
    and calling again is the queue's to do.
    """
    pictures = get_pictures()
    model = apps.get_model(model_label)
    found = [picture for picture in pictures if issubclass(model, picture.model)]
    if not found:
        valid = ", ".join(sorted({picture.model._meta.label for picture in pictures}))
        raise LookupError(f"{model_label} has no picture that is embedded; valid are {valid}.")
    for picture in found:
        key = picture.model._meta.pk.to_python(pk)
        for holder in pictures[picture]:
            create_companions(holder, using, picture_pk=key)
            embed(rows_of_product(holder, key, using).pending(), retry_delays=retry_delays)


def get_pictures() -> "dict[FileField, list[type[VisuallySimilarModel]]]":
    """Return every file field that is embedded, with the models that keep the vectors made from it."""
    pictures: dict[FileField, list[type[VisuallySimilarModel]]] = {}
    for holder in get_holders():
        try:
            pictures.setdefault(picture_field(holder), []).append(holder)
        except FieldDoesNotExist:
            continue  # reported by a check, which a crash here would keep from running
    return pictures


def rows_of_product(holder: type[VisuallySimilarModel], key: Any, using: str) -> SimilarQuerySet[Any]:
    """Return the rows of ``holder`` that lead to the picture of the product with the primary key ``key``."""
    relation, _, _ = holder.similar_image.rpartition(LOOKUP_SEP)
    name = picture_field(holder).model._meta.pk.name
    rows: SimilarQuerySet[Any] = holder._base_manager.using(using)  # type: ignore[assignment]
    return rows.filter(**{f"{relation}{LOOKUP_SEP}{name}" if relation else name: key})


def _embed_product_task(model_label: str, pk: str, using: str = DEFAULT_DB_ALIAS) -> None:
    embed_product(model_label, pk, using)


# A worker imports the task by the path of its function: the function is called as the attribute is.
_embed_product_task.__name__ = _embed_product_task.__qualname__ = "embed_product_task"


def __getattr__(name: str) -> Any:
    """Return ``embed_product_task``, ``embed_product`` as a task of Django's Tasks interface.

    It is made when it is first asked for, because the package that makes it before Django 6.0 is optional.
    Raises ``ModuleNotFoundError`` where that package is missing, ``AttributeError`` for any other name.
    """
    if name != "embed_product_task":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = importlib.import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")
    globals()[name] = package.task(_embed_product_task)
    return globals()[name]
