"""Saving a new picture embeds it after the transaction commits. Connected by ``SimilarProductsConfig.ready``.

What signals cannot see (``bulk_create``, ``update``, fixtures, a crash between commit and callback) needs no
mending here: it shows as pending by its columns, and the next ``embed_products`` finds it.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.files import File
from django.db import models, transaction
from django.db.models.signals import post_init, post_save, pre_save

from .conf import get_settings
from .indexing import create_companions, embed
from .models import VisuallySimilarModel, get_holders
from .query import SOURCE_SEPARATOR, picture_field

logger = logging.getLogger(__name__)


def connect() -> None:
    """Connect the receivers for every model that owns a picture, its proxies and its children included.

    Signals are sent by the very class that is saved, so each class of the family is connected by itself.
    """
    for holder in get_holders():
        try:
            picture = picture_field(holder)
        except FieldDoesNotExist:
            continue  # reported by a check, which a crash here would keep from running
        for sender in apps.get_models():
            if issubclass(sender, picture.model):
                for signal, receiver in (
                    (post_init, remember_picture),
                    (pre_save, notice_new_bytes),
                    (post_save, ask_for_embedding),
                ):
                    signal.connect(
                        partial(receiver, image=picture.attname, holder=holder),
                        sender=sender,
                        weak=False,
                        dispatch_uid=f"similar_products {holder._meta.label} {receiver.__name__}",
                    )


@dataclass(slots=True)
class _Memory:
    """What is known of the picture of one instance between its loading and its saving."""

    loaded: str | None = None
    has_new_bytes: bool = False


def remember_picture(instance: models.Model, *, image: str, holder: type[VisuallySimilarModel], **kwargs: Any) -> None:
    """Keep the picture's name as it was loaded, so that a later save can tell without a query."""
    if image in instance.__dict__:
        _memory(instance, holder).loaded = str(instance.__dict__[image] or "")


def notice_new_bytes(instance: models.Model, *, image: str, holder: type[VisuallySimilarModel], **kwargs: Any) -> None:
    """Note an uploaded file that this save is about to store, maybe under the name of the old one."""
    file = instance.__dict__.get(image)  # a name, a file of the field, or any file just assigned
    _memory(instance, holder).has_new_bytes = isinstance(file, File) and not getattr(file, "_committed", False)


def ask_for_embedding(
    instance: models.Model,
    *,
    image: str,
    holder: type[VisuallySimilarModel],
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: frozenset[str] | None = None,
    **kwargs: Any,
) -> None:
    """After a save that brought a picture: have it embedded when the transaction has committed."""
    if raw or image not in instance.__dict__ or (update_fields is not None and image not in update_fields):
        return
    memory = _memory(instance, holder)
    name = str(instance.__dict__[image] or "")
    before, memory.loaded = (None if created else memory.loaded), name
    if not name or (name == before and not memory.has_new_bytes):
        return
    if name == before:
        # The same name as before says "ready"; a marker of its own says otherwise, and makes a vector of the
        # old bytes that is being written right now come too late.
        rows = holder._base_manager.using(using).filter(**{_owner(holder): instance.pk})
        rows.update(embedding_source=f"replaced{SOURCE_SEPARATOR}{uuid4().hex}")
    transaction.on_commit(partial(embed_after_commit, holder, instance.pk, using), using=using, robust=True)


def _memory(instance: models.Model, holder: type[VisuallySimilarModel]) -> _Memory:
    # On the state, which is no field, is not compared and goes with the instance wherever it goes.
    memories: dict[str, _Memory] = instance._state.__dict__.setdefault("similar_products", {})
    return memories.setdefault(holder._meta.label, _Memory())


def embed_after_commit(holder: type[VisuallySimilarModel], owner_pk: Any, using: str) -> None:
    """Embed the rows of one product; a failure is logged, the row stays pending, the save has succeeded."""
    try:
        if get_settings().embed_on_save == "off":
            return
        create_companions(holder, using, pk=owner_pk)
        rows: Any = holder._base_manager.using(using)
        embed(rows.pending().filter(**{_owner(holder): owner_pk}))
    except Exception:
        logger.exception("%s of %s was not embedded; it stays pending.", holder._meta.label, owner_pk)


def _owner(holder: type[VisuallySimilarModel]) -> str:
    """Return the path from the holder to the model that owns the picture."""
    return holder.similar_image.rpartition("__")[0] or "pk"
