"""The actions of the change list: they embed as a save does, in this process or through the queue, and never longer."""

import logging
import time
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial

from django.core.exceptions import ImproperlyConfigured
from django.db import router, transaction
from django.db.models import F, Model, QuerySet
from django.utils.translation import gettext, ngettext

from ..conf import get_settings
from ..embedding.caches import forget_results
from ..embedding.schemas import current_schema
from ..embedding.states import count_pictures, is_in, pictures_with_states
from ..encoders import EncoderError, get_encoder
from ..query import all_rows
from ..search.placement import get_placement
from ..tasks import embed_after_commit, embed_or_enqueue

logger = logging.getLogger(__name__)

INLINE_SECONDS = 20.0
"""Maximum time for embedding in a request, where there is no queue; servers end requests after 30 or 60 seconds."""
MAX_QUEUED = 1_000
"""Maximum number of pictures that an action hands to the queue, which takes about a millisecond each."""


@dataclass(slots=True)
class Outcome:
    """The result of an action: the pictures of the selected products by state, and failed ones by error code.

    ``queued`` pictures were handed to the queue; ``is_cut_off`` says that some were left for ``embed_products``.
    ``problem`` is a sentence where embedding could not go on.
    """

    ready: int = 0
    pending: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    queued: int = 0
    is_cut_off: bool = False
    problem: str = ""

    @property
    def is_good(self) -> bool:
        return not (self.problem or self.failed or self.pending - self.queued > 0)

    def __str__(self) -> str:
        failed = ngettext("%(number)d failed", "%(number)d failed", self.failed.total())
        parts = [
            ngettext("%(number)d picture is ready", "%(number)d pictures are ready", self.ready)
            % {"number": self.ready},
            failed % {"number": self.failed.total()}
            + (f" ({', '.join(f'{code} {number}' for code, number in self.failed.items())})" if self.failed else ""),
            ngettext("%(number)d is pending", "%(number)d are pending", self.pending) % {"number": self.pending},
        ]
        sentences = [f"{', '.join(parts)}."]
        if self.queued:
            handed = ngettext(
                "%(number)d was handed to the queue.", "%(number)d were handed to the queue.", self.queued
            )
            sentences.append(handed % {"number": self.queued})
        if self.problem:
            sentences.append(self.problem)
        elif self.is_cut_off:
            sentences.append(
                gettext(
                    "There were too many for one request: the rest is pending, for embed_products or the action for "
                    "pending pictures."
                )
            )
        elif self.pending and not self.queued and get_settings().embed_on_save == "off":
            sentences.append(
                gettext('EMBED_ON_SAVE is "off": what is pending is embedded by the next run of embed_products.')
            )
        return " ".join(sentences)


def embed_products(products: QuerySet[Model], *, retry_failed: bool = False) -> Outcome:
    """Have the pictures of ``products`` embedded that are pending, or those that failed, as ``EMBED_ON_SAVE`` says.

    With a queue nothing is embedded here, and at most ``MAX_QUEUED`` pictures are handed over; without one it ends
    after ``INLINE_SECONDS``. Failed pictures become pending first, all of them, so that none is forgotten. Nothing is
    raised for what people can mend: it is the outcome's ``problem``.
    """
    try:
        encoder_name, embed_on_save = get_encoder().name, get_settings().embed_on_save
    except (ImproperlyConfigured, EncoderError) as error:
        return Outcome(problem=str(error))
    placement = get_placement(products.model)
    # Not the database that the list was read from, which may be a replica.
    using = products._db or router.db_for_write(products.model)  # type: ignore[attr-defined]
    keys = list(products.using(using).order_by().values_list("pk", flat=True))
    pictures = pictures_with_states(products.model, encoder_name).using(using).filter(pk__in=keys)
    wanted = pictures.filter(is_in("failed" if retry_failed else "pending")).annotate(picture=F("_picture"))
    found = list(wanted.order_by("picture").values_list("picture", flat=True).distinct()[: MAX_QUEUED + 1])
    if retry_failed:
        rows = all_rows(placement.holder, using).failed().filter(**{f"{placement.owner}__in": keys})
        rows.update(embedding_source="", embedding_error="")
        forget_results(placement.holder, using)
    outcome = Outcome()
    if embed_on_save != "off":
        outcome.is_cut_off = len(found) > MAX_QUEUED
        label = placement.picture_field.model._meta.label
        _embed_each(outcome, label, found[:MAX_QUEUED], using, is_queued=embed_on_save != "inline")
    counts = count_pictures(pictures)
    outcome.ready, outcome.pending = counts["ready"], counts["pending"]
    outcome.failed = Counter(dict(sorted(counts["codes"].items())))
    return outcome


def _embed_each(outcome: Outcome, label: str, keys: list[Hashable], using: str, *, is_queued: bool) -> None:
    """Embed or enqueue the pictures of these keys until time is up or embedding fails, as ``outcome`` then says."""
    deadline = time.monotonic() + INLINE_SECONDS
    for key in keys:
        if not is_queued and time.monotonic() > deadline:
            outcome.is_cut_off = True
            return
        try:
            _embed(label, str(key), using, is_queued=is_queued)
        except EncoderError as error:
            outcome.problem = str(error)
            return
        except Exception:
            logger.exception("%s of %s was not embedded; it stays pending.", label, key)
            outcome.problem = gettext("An error stopped it, and the rest stays pending; the log says why.")
            return
        outcome.queued += is_queued


def _embed(label: str, pk: str, using: str, *, is_queued: bool) -> None:
    if is_queued and transaction.get_connection(using).in_atomic_block:
        # A worker must not look before the request's transaction has made the failed ones pending.
        transaction.on_commit(partial(embed_after_commit, label, pk, using, current_schema(using)), using=using)
    else:
        embed_or_enqueue(label, pk, using)
