"""The state of a product, in the same query that fetches it."""

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import F, OuterRef
from django.db.models.functions import JSONObject
from django.db.models.lookups import IsNull

from ..placement import SOURCE_SEPARATOR, get_placement

STATES = ("ready", "pending", "failed", "no_picture")


def pictures_of(model: type[models.Model]) -> ArraySubquery:
    """Return the expression for what ``state_of`` and ``is_servable`` take: the pictures of a product of ``model``."""
    placement = get_placement(model)
    # From the product on, by LEFT JOINs: a picture without the companion that will have its vector counts.
    rows = model._base_manager.filter(pk=OuterRef("pk")).order_by()
    picture = JSONObject(
        image=F(placement.product_image),
        source=F(placement.from_product("embedding_source")),
        has_vector=IsNull(F(placement.from_product("embedding")), False),
    )
    return ArraySubquery(rows.values(picture=picture))


def state_of(pictures: list[dict[str, Any]], encoder_name: str) -> str:
    """Return one of ``STATES``; of several pictures the one that comes first there decides."""
    states = {"no_picture"}
    for picture in pictures:
        if picture["image"]:
            is_tried = picture["source"] == f"{encoder_name}{SOURCE_SEPARATOR}{picture['image']}"
            states.add("pending" if not is_tried else "ready" if picture["has_vector"] else "failed")
    return next(state for state in STATES if state in states)


def is_servable(pictures: list[dict[str, Any]]) -> bool:
    """Return whether there is a vector to compare with, of whatever encoder, made from a present picture."""
    return any(
        picture["has_vector"] and picture["source"].partition(SOURCE_SEPARATOR)[2] == picture["image"]
        for picture in pictures
    )
