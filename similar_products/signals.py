"""Saving a new picture has it embedded after the transaction commits. Connected by ``SimilarProductsConfig.ready``.

What signals cannot see (``bulk_create``, ``update``, fixtures, a crash between commit and callback) needs no
mending here: it shows as pending by its columns, and the next ``embed_products`` finds it.
"""

import logging
import threading
import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.core.exceptions import SuspiciousOperation
from django.core.files import File
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.db import connections, models, transaction
from django.db.models import Field, FileField
from django.db.models.signals import post_init, post_save, pre_init, pre_save

from .embedding.caches import forget_results
from .embedding.companions import Hop, get_hops
from .embedding.schemas import current_schema
from .search.placement import replaced_source
from .tasks import embed_after_commit

logger = logging.getLogger(__name__)

MODIFIED_TOLERANCE = 2.0
"""Seconds by which a file may be older than its instance and count as stored after it: the clock of a file server."""

NAMING = ("save", "_save", "exists", "is_name_available", "get_available_name")
"""The methods of a storage that decide under which name a file is stored."""


def connect() -> None:
    """Connect the receivers for every model on the way to a picture, its proxies and its children included.

    Signals are sent by the very class that is saved, so each class of the family is connected by itself.
    """
    hops: dict[Field[Any, Any], list[Hop]] = {}
    for hop in get_hops():
        hops.setdefault(hop.field, []).append(hop)
    for field, same in hops.items():
        receivers = [
            (post_init, partial(remember_value, attname=field.attname)),
            (post_save, partial(ask_for_embedding, field=field, hops=same)),
        ]
        if isinstance(field, FileField):
            receivers.append((pre_save, partial(notice_assigned, picture=field)))
        for sender in apps.get_models():
            if issubclass(sender, field.model):
                pre_init.connect(notice_loading, sender=sender)  # once, whatever the number of its fields
                for signal, receiver in receivers:
                    uid = f"similar_products {field} {receiver.func.__name__}"
                    signal.connect(receiver, sender=sender, weak=False, dispatch_uid=uid)


# What is known of a picture between the loading and the saving of its instance stands on the instance's state,
# which is no field, is not compared, and goes with the instance wherever it goes, into a cache's pickle as well.


MADE_BY_HAND = "similar_products made by hand"
LOADED_AT = "similar_products loaded at"
_is_loaded = threading.local()
"""Of each model, whether the instance being made in this thread is loaded."""


def _note(attname: str, what: str) -> str:
    """Return the key, on an instance's state, of what is known of a field: loaded, assigned, seen, request."""
    return f"similar_products {attname} {what}"


def notice_loading(sender: type[models.Model], args: tuple[Any, ...], **kwargs: Any) -> None:
    """Note whether the instance being made is loaded, which Django does by position."""
    _is_loaded.__dict__[sender._meta.label] = bool(args)


def remember_value(instance: models.Model, *, attname: str, **kwargs: Any) -> None:
    """Keep a picture's name, or a foreign key, as it was loaded, so that a later save can tell without a query.

    What an instance was made with by hand is not what the database has: Wagtail makes one of a revision's JSON, and
    saves it as if it had been loaded.
    """
    state = instance._state.__dict__
    if not _is_loaded.__dict__.get(instance._meta.label, True):
        state[MADE_BY_HAND] = True
        return
    state.setdefault(LOADED_AT, time.time())
    if attname in instance.__dict__:
        state[_note(attname, "loaded")] = _name(instance.__dict__[attname])


def notice_assigned(instance: models.Model, *, picture: FileField, **kwargs: Any) -> None:
    """Note what was assigned to the picture since it was loaded: ``"bytes"``, a ``"name"`` alone, or nothing.

    ===================================================  =======================  =========================
    case                                                 name                     result
    ===================================================  =======================  =========================
    untouched, or read                                   the very string loaded   nothing
    deferred, then read                                  nothing was loaded       nothing
    ``image = FILE``                                     of an uncommitted file   ``"bytes"``
    ``image.save(...)``, ``image = NAME``, or refreshed  another string           ``"bytes"`` or ``"name"``
    ===================================================  =======================  =========================

    ``"name"`` is for a storage that keeps names apart: while the old file is there, other bytes get another name. That
    it is there still, and was not deleted and stored anew, is told by when it was modified. Strings are compared by
    identity, since new bytes may come under the old name: ``Storage.save`` returns it from ``os.path.normpath``, which
    makes a new string.
    """
    state = instance._state.__dict__
    image = picture.attname
    value = instance.__dict__.get(image)
    name = state[_note(image, "seen")] = _name(value)
    if instance._state.adding:
        state.pop(_note(image, "loaded"), None)  # made by hand, by position
    elif isinstance(value, File) and name and not {_note(image, "loaded"), MADE_BY_HAND} & state.keys():
        state[_note(image, "loaded")] = name  # deferred, then read
    if not getattr(value, "_committed", True):
        # What a save that failed has noted stands: by then its file was stored, and is committed now.
        state[_note(image, "assigned")] = "bytes"
    elif name is not state.get(_note(image, "loaded")) and not (isinstance(value, File) and MADE_BY_HAND in state):
        is_kept = _keeps_names_apart(picture.storage) and not _is_stored_anew(state, picture, name)
        state[_note(image, "assigned")] = "name" if is_kept else "bytes"


def _is_stored_anew(state: dict[str, Any], picture: FileField, value: Any) -> bool:
    """Return whether a file of the name that was loaded has been stored since."""
    if not value or value != state.get(_note(picture.attname, "loaded")) or LOADED_AT not in state:
        return False
    try:
        modified = picture.storage.get_modified_time(value).timestamp()
    except (OSError, SuspiciousOperation):
        return False
    return bool(modified > state[LOADED_AT] - MODIFIED_TOLERANCE)


def ask_for_embedding(
    instance: models.Model,
    *,
    field: "Field[Any, Any]",
    hops: list[Hop],
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: frozenset[str] | None = None,
    **kwargs: Any,
) -> None:
    """After a save that brought a picture, or led to another: have it embedded when the transaction has committed.

    Within the transaction the rows become pending. A picture that was taken away takes its vector along. Either
    costs one UPDATE of each model that keeps vectors; a new product costs none.
    """
    attname, state = field.attname, instance._state.__dict__
    seen = state.pop(_note(attname, "seen"), None)
    is_left_out = update_fields is not None and not {field.name, attname} & update_fields
    if raw or attname not in instance.__dict__ or is_left_out:
        return
    # Taken by the save that acts on it: one of a receiver's own, of other fields, comes before ours.
    assigned = state.pop(_note(attname, "assigned"), "")
    name = _name(instance.__dict__[attname])
    if seen is not None and name is not seen:  # by a receiver of pre_save that came after ours
        assigned = "bytes"
    before = "" if created else state.get(_note(attname, "loaded"))  # None: not known
    request: Request | None = state.get(_note(attname, "request"))
    if request is not None and request.is_rolled_back():
        before, assigned = None, "bytes"
    state[_note(attname, "loaded")] = name
    state.pop(MADE_BY_HAND, None)
    if name == before and not (name and assigned == "bytes"):
        return
    columns: dict[str, str | None] = {}
    if not name:
        columns = {"embedding": None, "embedding_source": "", "embedding_error": ""}
    elif not created and (assigned or before is not None):
        # The name may be one that the row's source names already: the same as before, or an older one that came free.
        columns = {"embedding_source": replaced_source()}
    if columns:
        key = getattr(instance, field.model._meta.pk.attname)
        for hop in hops:
            hop.rows(key, using).update(**columns)
            forget_results(hop.holder, using)
    if name:
        state[_note(attname, "request")] = Request(
            field.model._meta.label, field.model._meta.pk.value_to_string(instance), using, current_schema(using)
        ).make()


@dataclass(slots=True)
class Request:
    """A row to be embedded once the transaction has committed, in the schema in which it was saved."""

    model_label: str
    pk: str
    using: str
    schema: str
    is_done: bool = False
    token: str = dataclass_field(default_factory=lambda: uuid4().hex)
    """Tells it from another's of the same row, and stays with a copy of the instance."""

    def make(self) -> "Request":
        """Wait for the commit, and return the request."""
        try:
            transaction.on_commit(self, using=self.using, robust=True)
        except transaction.TransactionManagementError:
            self.is_done = True
            logger.warning(
                "%s of %s was not embedded and stays pending: autocommit is switched off by hand, so its commit cannot "
                "be observed.",
                self.model_label,
                self.pk,
            )
        return self

    def __call__(self) -> None:
        self.is_done = True
        embed_after_commit(self.model_label, self.pk, self.using, self.schema)

    def is_rolled_back(self) -> bool:
        """Return whether the commit that was waited for will not come."""
        waiting = (getattr(each[1], "token", "") for each in connections[self.using].run_on_commit)
        return not self.is_done and self.token not in waiting


def _name(value: Any) -> Any:
    """Return the very string that is the picture's name, in a file or alone; '' where there is none; or a key."""
    return getattr(value, "name", value) or ""


def _keeps_names_apart(storage: Storage) -> bool:
    """Return whether ``storage`` is known never to store a file under a name that is taken."""
    known = (FileSystemStorage, InMemoryStorage)
    base = next((base for base in known if isinstance(storage, base)), None)
    # A lazy storage is of the class it stands for.
    are_its_own = (getattr(storage.__class__, name, None) is getattr(base, name, None) for name in NAMING)
    return base is not None and all(are_its_own) and not getattr(storage, "_allow_overwrite", False)
