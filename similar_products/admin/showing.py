"""What the admin shows of a product: the states of its pictures, what the shop shows beside it, what a photo finds."""

import copy
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TypeAlias

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from ..embedding.states import NO_PICTURE, REASONS, STATE_NAMES, PictureColumns, is_servable, state_of_picture
from ..encoders import Encoder, EncoderError, get_encoder
from ..pictures.gate import ImageRejected
from ..query import all_rows, ranked, similar_to
from ..search.bands import WORDS
from ..search.photo import TooManyPhotos, embed_photo
from ..search.placement import first_picture, get_placement, picture_of
from ..search.rules import without_hidden
from ..visibility import visible_and_similar, visible_products

logger = logging.getLogger(__name__)

ProductAdmin: TypeAlias = "ModelAdmin[Model]"

PICTURES = "similar_products_pictures"
"""The annotation of our admins' querysets with what ``states.pictures_of`` gives."""
RANKED = 100
"""Number of nearest products among which the rank of a photo's own product is determined."""


@dataclass(slots=True)
class Card:
    """A product as a page of the admin shows it; '' for what there is not.

    ``similarity`` is in 0..1, ``word`` the translated one and ``word_code`` its key in ``bands.WORDS``. ``picture`` and
    ``matched`` are URLs: the product's own picture and, where it has several, the one that is alike.
    """

    name: str
    url: str
    picture: str
    matched: str = ""
    similarity: float | None = None
    word: str = ""
    word_code: str = ""
    is_pinned: bool = False


@dataclass(slots=True)
class Similar:
    """Products to be shown, and sentences that say what is to be known about them or why there are none."""

    cards: list[Card] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass(slots=True)
class TriedPhoto(Similar):
    """What a photo finds, and the place of one product in it: ``rank`` from 1, ``None`` beyond ``RANKED``.

    ``own`` is that product, with its similarity; ``None`` where it has no vector to compare with.
    """

    own: Card | None = None
    rank: int | None = None
    ranked: int = RANKED


def find_encoder() -> tuple[Encoder | None, str]:
    """Return the encoder in the settings, whose ``name`` is known, or ``None`` and a sentence that says why not."""
    try:
        encoder = get_encoder()
        _ = encoder.name  # which may have to look at the model's files
    except (ImproperlyConfigured, EncoderError) as error:
        return None, str(error)
    return encoder, ""


def render_states(pictures: Sequence[PictureColumns], *, with_reasons: bool = False) -> SafeString:
    """Return as HTML how many of a row's pictures are in which state; why some failed as a hint, or as text as well."""
    encoder, problem = find_encoder()
    counts = {} if encoder is None else _count_states(pictures or [NO_PICTURE], encoder.name)
    states = [
        {"state": state, "name": STATE_NAMES[state], "code": code, "reason": REASONS.get(code, ""), "number": number}
        for (state, code), number in counts.items()
    ]
    context = {
        "states": states,
        "several": len(pictures) > 1,
        "problem": problem,
        "with_reasons": with_reasons,
    }
    return render_to_string("admin/similar_products/state.html", context)


def _count_states(pictures: Sequence[PictureColumns], encoder_name: str) -> dict[tuple[str, str], int]:
    """Return the number of pictures by state and, of failed ones, error code."""
    states = ((state_of_picture(picture, encoder_name), picture["error"] or "") for picture in pictures)
    return Counter((state, code if state == "failed" else "") for state, code in states)


def copy_for_visitor(request: HttpRequest) -> HttpRequest:
    """Return ``request`` as it would be from somebody who is not logged in: the shop is shown as customers see it."""
    visitor = copy.copy(request)
    visitor.user = AnonymousUser()
    return visitor


@contextmanager
def report_problems(similar: Similar, using: str) -> Iterator[None]:
    """Turn whatever goes wrong into the ``problem`` of ``similar``: the page it stands on must not break."""
    try:
        with transaction.atomic(using=using):  # after an error of the database the page's own queries go on
            yield
    except (ImproperlyConfigured, EncoderError, ImageRejected, TooManyPhotos) as error:
        similar.cards, similar.problem = [], str(error)
    except Exception:
        logger.exception("Similar products could not be found for the admin.")
        similar.cards = []
        similar.problem = gettext("Similar products cannot be found at the moment; the log says why.")


def shown_by_the_shop(model_admin: ProductAdmin, product: Model, request: HttpRequest, limit: int) -> Similar:
    """Return the products that the shop shows beside ``product``, by the same rules, and why there are none."""
    shown = Similar()
    with report_problems(shown, product._state.db or "default"):
        visitor = copy_for_visitor(request)
        pictures = getattr(product, PICTURES)
        visible = visible_products(product.__class__, visitor, like=product)
        is_hidden = not visible.filter(pk=product.pk).exists()
        if is_hidden:
            shown.notes.append(
                gettext("Customers do not see this product. This is what they would see beside it if they did.")
            )
        if not is_servable(pictures):
            shown.notes.append(_why_not(pictures))
            return shown
        similar = similar_to(visible, product) if is_hidden else visible_and_similar(product, visitor)
        shown.cards = _rank(model_admin, request, similar, limit)
        if not shown.cards:
            shown.notes.append(
                gettext(
                    "No other product that customers see has been embedded by the same encoder and is allowed here."
                )
            )
    return shown


def try_photo(
    model_admin: ProductAdmin, product: Model, request: HttpRequest, photo: bytes | IO[bytes], limit: int
) -> TriedPhoto:
    """Return what customers would find by ``photo``, and where among it ``product`` is."""
    tried = TriedPhoto()
    with report_problems(tried, product._state.db or "default"):
        vector = embed_photo(photo)
        visible = visible_products(product.__class__, copy_for_visitor(request), like=product)
        offered = without_hidden(visible)
        tried.cards = _rank(model_admin, request, similar_to(visible, vector), limit)
        everything = all_rows(product.__class__, visible.db)
        own = similar_to(everything.filter(pk=product.pk), vector)[:1]
        tried.own = next((make_card(model_admin, request, row) for row in own), None)
        if tried.own is not None:
            nearest = [row.pk for row in similar_to(offered, vector).only("pk")[:RANKED]]
            tried.rank = nearest.index(product.pk) + 1 if product.pk in nearest else None
        elif not is_servable(getattr(product, PICTURES)):
            tried.notes.append(_why_not(getattr(product, PICTURES)))
        if not visible.filter(pk=product.pk).exists():
            tried.notes.append(gettext("Customers do not see this product, so the photo does not find it."))
        elif tried.rank is None and not offered.filter(pk=product.pk).exists():
            tried.notes.append(gettext("This product is hidden everywhere by a rule, so the photo does not find it."))
        if not tried.cards:
            tried.notes.append(gettext("No product has been embedded by the encoder in use."))
    return tried


def _rank(model_admin: ProductAdmin, request: HttpRequest, similar: QuerySet[Model], limit: int) -> list[Card]:
    """Return what the shop's rules choose. The one place of the admin that asks ``ranked``."""
    placement = get_placement(similar.model)
    if placement.several:
        similar = similar.annotate(similar_products_first=Subquery(first_picture(placement, OuterRef("pk"))))
    elif relation := placement.product_image.rpartition(LOOKUP_SEP)[0]:
        similar = similar.select_related(relation)
    return [make_card(model_admin, request, row) for row in ranked(similar, limit)]


def make_card(
    model_admin: ProductAdmin,
    request: HttpRequest,
    product: Model,
    image: str | None = None,
    similarity: float | None = None,
) -> Card:
    """Return the card of a product; ``image`` and ``similarity`` where the product, as it was found, has none."""
    code: str = getattr(product, "likeness", "")
    matched: str | None = getattr(product, "matched_image", None)
    first: str | None = getattr(product, "similar_products_first", image)
    shown = matched if first is None else first
    placement = get_placement(product.__class__)
    return Card(
        name=str(product),
        url=change_url(model_admin, request, product),
        picture=url_of(picture_of(product, placement) if shown is None else placement.picture(product, shown)),
        matched="" if matched == shown else url_of(placement.picture(product, matched)),
        similarity=getattr(product, "similarity", similarity),
        word=str(WORDS[code]) if code else "",
        word_code=code.replace(" ", "-"),
        is_pinned=getattr(product, "pinned", False),
    )


def url_of(picture: FieldFile | None) -> str:
    """Return the URL of a picture; '' where there is no picture or its storage gives none."""
    try:
        return str(picture.url) if picture else ""
    except Exception:  # of whatever storage
        logger.warning("The storage gives no URL for %s.", picture, exc_info=True)
        return ""


def change_url(model_admin: ProductAdmin, request: HttpRequest, product: Model) -> str:
    """Return the URL of a product's change page; '' for those who may not see it."""
    if not model_admin.has_view_or_change_permission(request, product):
        return ""
    opts = model_admin.opts
    return reverse(
        f"admin:{opts.app_label}_{opts.model_name}_change",
        args=[quote(product.pk)],
        current_app=model_admin.admin_site.name,
    )


def _why_not(pictures: Sequence[PictureColumns]) -> str:
    """Return why a product with these pictures, of which none is servable, cannot be compared with others."""
    counts = _count_states(pictures, get_encoder().name)
    if ("pending", "") in counts:
        return gettext("The picture is not embedded yet: it is pending.")
    if codes := sorted(code for state, code in counts if state == "failed"):
        reasons = " ".join(str(REASONS.get(code, code)) for code in codes)
        return gettext("The picture could not be embedded. %(reasons)s") % {"reasons": reasons}
    return gettext("This product has no picture.")
