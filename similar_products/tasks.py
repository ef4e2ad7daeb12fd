"""Embedding one product by its key: what a save does at once and what the worker of a queue does later.

Keys travel as text and the rows are read anew, so a task may come late, twice, or after its product is gone.
"""

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import django
from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from .conf import get_settings
from .embedding import embed
from .embedding.companions import create_companions, get_hops
from .embedding.run import RETRY_DELAYS
from .embedding.schemas import current_schema, in_schema

logger = logging.getLogger(__name__)


def embed_product(
    model_label: str, pk: str, using: str = DEFAULT_DB_ALIAS, *, retry_delays: Sequence[float] = RETRY_DELAYS
) -> None:
    """Embed the picture of one product where it is pending, on its own row or on that of its companion.

    ``model_label`` names the model that has the picture, as in ``"shop.Product"``, or one that leads to it by a foreign
    key; ``pk`` is the key of its row as text, ``using`` the alias of its database. What a storage or another process
    kept from us is tried again after each of ``retry_delays`` (seconds), then left pending. Returns nothing; a second
    call finds nothing to do, nor does a call for a product that is gone.

    Raises ``LookupError`` where the label names no model with such a picture, ``ValidationError`` where ``pk``
    is no key of it, and whatever keeps the encoder or the database from working: the product stays pending,
    and calling again is the queue's to do.
    """
    hops = get_hops()
    model = apps.get_model(model_label)
    found = [hop for hop in hops if issubclass(model, hop.field.model)]
    if not found:
        valid = ", ".join(sorted({hop.field.model._meta.label for hop in hops}))
        raise LookupError(f"{model_label} has no picture that is embedded; valid are {valid}.")
    for hop in found:
        key = hop.field.model._meta.pk.to_python(pk)
        create_companions(hop.holder, using, behind=hop, key=key)
        embed(hop.rows(key, using).pending(), retry_delays=retry_delays)


def embed_or_enqueue(model_label: str, pk: str, using: str) -> None:
    """Embed one product or hand it to the queue, as ``EMBED_ON_SAVE`` says; raise whatever keeps that from working."""
    embed_on_save = get_settings().embed_on_save
    if embed_on_save == "inline":
        # Whoever saves is waiting for us, so nothing is waited for here.
        embed_product(model_label, pk, using, retry_delays=())
    elif embed_on_save == "tasks":
        schema = current_schema(using)
        _get_task().enqueue(model_label, pk, using, *([schema] if schema else []))
    elif embed_on_save != "off":
        import_string(embed_on_save)(model_label, pk, using)


def embed_after_commit(model_label: str, pk: str, using: str, schema: str = "") -> None:
    """Do what ``embed_or_enqueue`` does in the schema of the save.

    A failure is logged, the row stays pending, the save has succeeded.
    """
    try:
        with in_schema(using, schema):
            embed_or_enqueue(model_label, pk, using)
    except Exception:
        logger.exception("%s of %s was not embedded; it stays pending.", model_label, pk)


def _embed_product_task(model_label: str, pk: str, using: str = DEFAULT_DB_ALIAS, schema: str = "") -> None:
    with in_schema(using, schema):
        embed_product(model_label, pk, using)


# A worker imports the task by the path of its function: the function is called as the attribute is.
_embed_product_task.__name__ = _embed_product_task.__qualname__ = "embed_product_task"


@cache
def _get_task() -> Any:
    """Return ``embed_product`` as a task of Django's interface; before Django 6.0 an optional package has that."""
    package = importlib.import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")
    return package.task(_embed_product_task)


def __getattr__(name: str) -> Any:
    """Return ``embed_product_task``, made when it is first asked for; raise ``AttributeError`` for any other name.

    Raises ``ModuleNotFoundError`` where the package that makes it is missing.
    """
    if name != "embed_product_task":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _get_task()
