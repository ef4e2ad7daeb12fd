"""The state of a product's pictures: in the query that fetches it, as a condition to find products by, and counted."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from django.contrib.postgres.expressions import ArraySubquery
from django.core.cache import cache
from django.db import connections, models
from django.db.models import Count, Exists, ExpressionWrapper, F, OuterRef, Q, Value
from django.db.models.constants import LOOKUP_SEP
from django.db.models.functions import Coalesce, JSONObject
from django.db.models.lookups import IsNull
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from ..encoders import get_encoder
from ..models import VisuallySimilarModel
from ..pictures.gate import SENTENCES
from ..query import all_rows
from ..search.placement import SOURCE_SEPARATOR, get_placement, source_of
from .companions import missing_companions
from .schemas import quoted_table

STATES = ("ready", "pending", "failed", "no_picture")

STATE_NAMES: dict[str, str | Promise] = {
    "ready": gettext_lazy("ready"),
    "pending": gettext_lazy("pending"),
    "failed": gettext_lazy("failed"),
    "no_picture": gettext_lazy("no picture"),
}
"""The text to show for each of ``STATES``, in the language of the page."""

REASONS: dict[str, str | Promise] = {
    **{code: SENTENCES[code] for code in ("bad_dimensions", "corrupt", "decode_timeout", "decoder_crashed")},
    "bad_vector": gettext_lazy("The encoder sees nothing in the picture."),
    "blank": gettext_lazy("The picture has one colour only, as a placeholder has."),
    "empty_file": gettext_lazy("The picture file is empty."),
    "missing_file": gettext_lazy("The storage has no such file."),
    "too_large_bytes": gettext_lazy("The picture file is too large."),
    "too_many_pixels": gettext_lazy("The picture has too many pixels."),
    "truncated": gettext_lazy("The picture file ends too early: upload it again."),
    "unsupported_format": gettext_lazy("The file is not a picture in a supported format."),
}
"""Why a picture failed, by the code in ``embedding_error``, for people."""


class PictureColumns(TypedDict):
    """What tells the state of one picture: its name and the derived columns; without a companion these are ``None``."""

    image: str | None
    source: str | None
    error: str | None
    has_vector: bool


NO_PICTURE: PictureColumns = {"image": "", "source": None, "error": None, "has_vector": False}


def pictures_of(model: type[models.Model], through: str = "") -> ArraySubquery:
    """Return the expression for what ``state_of`` and ``is_servable`` take: the pictures of a row of ``model``.

    Each comes as ``PictureColumns``.
    """
    placement = get_placement(model, through)
    # From the product on, by LEFT JOINs: a picture without the companion that will have its vector counts.
    rows = all_rows(model).filter(pk=OuterRef("pk")).order_by()
    picture = JSONObject(
        image=F(placement.product_image),
        source=F(placement.from_product("embedding_source")),
        error=F(placement.from_product("embedding_error")),
        has_vector=IsNull(F(placement.from_product("embedding")), False),
    )
    return ArraySubquery(rows.values(picture=picture))


def state_of_picture(picture: PictureColumns, encoder_name: str) -> str:
    """Return one of ``STATES`` for one picture."""
    if not picture["image"]:
        return "no_picture"
    if picture["source"] != f"{encoder_name}{SOURCE_SEPARATOR}{picture['image']}":
        return "pending"
    return "ready" if picture["has_vector"] else "failed"


def state_of(pictures: Iterable[PictureColumns], encoder_name: str) -> str:
    """Return one of ``STATES``; of several pictures the one that comes first there decides."""
    states = {"no_picture", *(state_of_picture(picture, encoder_name) for picture in pictures)}
    return next(state for state in STATES if state in states)


def is_servable(pictures: Iterable[PictureColumns]) -> bool:
    """Return whether there is a vector to compare with, of whatever encoder, made from a present picture."""
    return any(
        picture["has_vector"] and (picture["source"] or "").partition(SOURCE_SEPARATOR)[2] == picture["image"]
        for picture in pictures
    )


def has_picture_in(model: type[models.Model], state: str, encoder_name: str, *, code: str = "") -> Q:
    """Return the condition that a product of ``model`` has a picture in ``state``, and failed with ``code`` if given.

    ``"no_picture"`` holds for products without any. A product with several pictures may have some in each state.
    """
    pictures = pictures_with_states(model, encoder_name).filter(pk=OuterRef("pk"))
    if state == "no_picture":
        return ~Q(Exists(pictures))
    return Q(Exists(pictures.filter(is_in(state, code))))


def pictures_with_states(model: type[models.Model], encoder_name: str) -> "models.QuerySet[models.Model]":
    """Return a row for each picture of each product of ``model``, to be filtered by ``is_in``.

    The primary key is the product's, and as often there as it has pictures. ``_picture``, an alias, is the key of the
    row with the picture, and ``_error`` the code in ``embedding_error``.
    """
    placement = get_placement(model)
    relation, _, _ = placement.product_image.rpartition(LOOKUP_SEP)
    pictures: models.QuerySet[models.Model] = (
        all_rows(model)
        .order_by()
        .alias(
            _image=F(placement.product_image),
            _picture=F(f"{relation}{LOOKUP_SEP}pk" if relation else "pk"),
            # Of a picture without a companion there is no source, and NULL is equal to nothing.
            _source=Coalesce(F(placement.from_product("embedding_source")), Value(""), output_field=models.TextField()),
            _error=F(placement.from_product("embedding_error")),
            _has_vector=IsNull(F(placement.from_product("embedding")), False),
        )
        .alias(
            _is_tried=ExpressionWrapper(
                Q(_source=source_of(Value(encoder_name), "_image")), output_field=models.BooleanField()
            )
        )
        .filter(_image__gt="")
    )
    return pictures


def is_in(state: str, code: str = "") -> Q:
    """Return the condition that a row of ``pictures_with_states`` is in ``state``, failed with ``code`` if given."""
    if state == "pending":
        return Q(_is_tried=False)
    found = Q(_is_tried=True, _has_vector=state == "ready")
    return found & Q(_error=code) if code else found


class StateCounts(TypedDict):
    """The number of pictures in each state; ``codes``: of failed ones by error code, most frequent first."""

    ready: int
    pending: int
    failed: int
    codes: dict[str, int]


def count_pictures(pictures: "models.QuerySet[models.Model]") -> StateCounts:
    """Return how many rows of ``pictures_with_states`` are in which state, by one query."""
    columns = {"_similar_tried": F("_is_tried"), "_similar_vector": F("_has_vector"), "_similar_code": F("_error")}
    groups = pictures.annotate(**columns).values_list(*columns).annotate(_similar_number=Count("pk")).order_by()
    states: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for is_tried, has_vector, code, number in groups:
        if is_tried and not has_vector:
            codes[code] += number
        else:
            states["ready" if is_tried else "pending"] += number
    return {
        "ready": states["ready"],
        "pending": states["pending"],
        "failed": codes.total(),
        "codes": dict(sorted(codes.items(), key=lambda item: (-item[1], item[0]))),
    }


def count_states(holder: type[VisuallySimilarModel], using: str) -> StateCounts:
    """Return how many pictures whose vectors stand on ``holder`` are in which state.

    A product that lacks its companion row is pending.
    """
    counts = count_pictures(pictures_with_states(holder, get_encoder().name).using(using))
    missing = missing_companions(holder, using)
    if missing is not None:
        counts["pending"] += missing.count()
    return counts


def last_embedded(holder: type[VisuallySimilarModel], using: str) -> datetime | None:
    """Return when a picture of ``holder`` was last embedded, as far as Django's default cache remembers.

    No column says it: state is derived from what is there. ``None`` where the cache is another process's own, was
    emptied, or nothing was embedded yet.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)::oid::bigint", [quoted_table(holder, using)])
        when: datetime | None = cache.get(last_embedded_key(using, cursor.fetchone()[0]))
    return when


def last_embedded_key(using: str, table: int | None) -> str:
    """Return the cache's key for a table by its number in its database, where another schema's has another."""
    return f"similar_products.last_embedded.{connections[using].settings_dict['NAME']}.{table}"
