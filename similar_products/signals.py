"""Saving a new picture has it embedded after the transaction commits. Connected by ``SimilarProductsConfig.ready``.

What signals cannot see (``bulk_create``, ``update``, fixtures, a crash between commit and callback) needs no
mending here: it shows as pending by its columns, and the next ``embed_products`` finds it.
"""

import logging
from functools import partial
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.core.files import File
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.db import models, transaction
from django.db.models import FileField
from django.db.models.signals import post_init, post_save, pre_save

from .embedding.companions import get_pictures, rows_of_product
from .models import VisuallySimilarModel
from .search.placement import SOURCE_SEPARATOR
from .tasks import embed_after_commit

logger = logging.getLogger(__name__)


def connect() -> None:
    """Connect the receivers for every model that owns a picture, its proxies and its children included.

    Signals are sent by the very class that is saved, so each class of the family is connected by itself.
    """
    for picture, holders in get_pictures().items():
        for sender in apps.get_models():
            if issubclass(sender, picture.model):
                for signal, receiver in (
                    (post_init, partial(remember_picture, image=picture.attname)),
                    (pre_save, partial(notice_assigned, picture=picture)),
                    (post_save, partial(ask_for_embedding, picture=picture, holders=holders)),
                ):
                    signal.connect(
                        receiver,
                        sender=sender,
                        weak=False,
                        dispatch_uid=f"similar_products {picture} {receiver.func.__name__}",
                    )


# What is known of a picture between the loading and the saving of its instance stands on the instance's state,
# which is no field, is not compared, and goes with the instance wherever it goes, into a cache's pickle as well.


def _loaded(image: str) -> str:
    return f"similar_products {image} loaded"


def _assigned(image: str) -> str:
    return f"similar_products {image} assigned"


def remember_picture(instance: models.Model, *, image: str, **kwargs: Any) -> None:
    """Keep the picture's name as it was loaded, so that a later save can tell without a query."""
    if image in instance.__dict__:
        instance._state.__dict__[_loaded(image)] = _name(instance.__dict__[image])


def notice_assigned(instance: models.Model, *, picture: FileField, **kwargs: Any) -> None:
    """Note what was assigned to the picture since it was loaded: ``"bytes"``, a ``"name"`` alone, or nothing.

    =====================================  ===================  ====================  =========================
    case                                   loaded               assigned              result
    =====================================  ===================  ====================  =========================
    untouched                              a string             the very same string  nothing
    read, refreshed or deferred            a string or nothing  a committed file      nothing
    ``image = FILE``                       anything             an uncommitted file   ``"bytes"``
    ``image.save(...)``, ``image = NAME``  anything             another string        ``"bytes"`` or ``"name"``
    =====================================  ===================  ====================  =========================

    ``"name"`` is for a storage that keeps names apart: while the old file is there, other bytes get another name.
    Strings are compared by identity, since new bytes may come under the old name: ``Storage.save`` returns it from
    ``os.path.normpath``, which makes a new string.
    """
    state = instance._state.__dict__
    image = picture.attname
    value = instance.__dict__.get(image)
    if instance._state.adding:
        state.pop(_loaded(image), None)  # made by hand: nothing was loaded
    elif value and _loaded(image) not in state and getattr(value, "_committed", False):
        state[_loaded(image)] = _name(value)  # deferred, then read
    if isinstance(value, File):
        # What a save that failed has noted stands: by then its file was stored, and is committed now.
        if not getattr(value, "_committed", False):
            state[_assigned(image)] = "bytes"
    elif value is not state.get(_loaded(image)):
        state[_assigned(image)] = "name" if _keeps_names_apart(picture.storage) else "bytes"


def ask_for_embedding(
    instance: models.Model,
    *,
    picture: FileField,
    holders: list[type[VisuallySimilarModel]],
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: frozenset[str] | None = None,
    **kwargs: Any,
) -> None:
    """After a save that brought a picture: have it embedded when the transaction has committed.

    Within the transaction the rows become pending. A picture that was taken away takes its vector along. Either
    costs one UPDATE of each model that keeps vectors; a new product costs none.
    """
    image, state = picture.attname, instance._state.__dict__
    assigned = state.pop(_assigned(image), "")
    if raw or image not in instance.__dict__ or (update_fields is not None and image not in update_fields):
        return
    name = _name(instance.__dict__[image])
    before = "" if created else state.get(_loaded(image))  # None: not known
    state[_loaded(image)] = name
    if name == before and not (name and assigned == "bytes"):
        return
    columns: dict[str, str | None] = {}
    if not name:
        columns = {"embedding": None, "embedding_source": "", "embedding_error": ""}
    elif assigned and not created:
        # The name may be one that the row's source names already: the same as before, or an older one that came
        # free. A marker of its own says "pending", and makes a vector that is being written right now come late.
        columns = {"embedding_source": f"replaced{SOURCE_SEPARATOR}{uuid4().hex}"}
    if columns:
        key = getattr(instance, picture.model._meta.pk.attname)
        for holder in holders:
            rows_of_product(holder, key, using).update(**columns)
    if name:
        _embed_on_commit(picture.model._meta.label, picture.model._meta.pk.value_to_string(instance), using)


def _embed_on_commit(model_label: str, pk: str, using: str) -> None:
    try:
        transaction.on_commit(partial(embed_after_commit, model_label, pk, using), using=using, robust=True)
    except transaction.TransactionManagementError:
        logger.warning(
            "%s of %s was not embedded and stays pending: autocommit is switched off by hand, so its commit cannot be "
            "observed.",
            model_label,
            pk,
        )


def _name(value: Any) -> str:
    """Return the very string that is the picture's name, in a file or alone; '' where there is none."""
    return getattr(value, "name", value) or ""


def _keeps_names_apart(storage: Storage) -> bool:
    """Return whether ``storage`` is known never to store a file under a name that is taken."""
    return (
        isinstance(storage, FileSystemStorage | InMemoryStorage)
        and storage.__class__.get_available_name is Storage.get_available_name
        and not getattr(storage, "_allow_overwrite", False)
    )
