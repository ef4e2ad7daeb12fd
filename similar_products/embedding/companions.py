"""Which rows hold the vector of a picture, and the rows of companions that are still to be made."""

from collections.abc import Hashable
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import FileField, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP

from ..models import VisuallySimilarModel, get_holders
from ..query import SimilarQuerySet, all_rows
from ..search.placement import picture_field


def get_pictures() -> "dict[FileField, list[type[VisuallySimilarModel]]]":
    """Return every file field that is embedded, with the models that keep the vectors made from it."""
    pictures: dict[FileField, list[type[VisuallySimilarModel]]] = {}
    for holder in get_holders():
        try:
            pictures.setdefault(picture_field(holder), []).append(holder)
        except FieldDoesNotExist:
            continue  # reported by a check, which a crash here would keep from running
    return pictures


def rows_of_product(
    holder: type[VisuallySimilarModel], key: Hashable, using: str
) -> SimilarQuerySet[VisuallySimilarModel]:
    """Return the rows of ``holder`` that lead to the picture of the product with the primary key ``key``."""
    relation, _, _ = holder.similar_image.rpartition(LOOKUP_SEP)
    name = picture_field(holder).model._meta.pk.name
    return all_rows(holder, using).filter(**{f"{relation}{LOOKUP_SEP}{name}" if relation else name: key})


def missing_companions(holder: type[VisuallySimilarModel], using: str) -> QuerySet[Model] | None:
    """Return the products with a picture that lack their row of ``holder``.

    ``None`` where ``holder`` is no companion: it has the picture itself, or hangs on it by a foreign key.
    """
    relation, _, rest = holder.similar_image.partition(LOOKUP_SEP)
    field: Any = holder._meta.get_field(relation)
    if not rest or not field.one_to_one:
        return None
    products: QuerySet[Model] = all_rows(field.related_model, using)
    return products.filter(**{f"{rest}__gt": "", f"{field.related_query_name()}__isnull": True})


def create_companions(holder: type[VisuallySimilarModel], using: str, *, picture_pk: Hashable | None = None) -> int:
    """Make the companion row of every product that lacks it, and return how many were made.

    With ``picture_pk`` only the products whose picture stands on the row of that key are looked at.
    """
    products = missing_companions(holder, using)
    if products is None:
        return 0
    first, *rest = holder.similar_image.split(LOOKUP_SEP)
    if picture_pk is not None:
        products = products.filter(**{LOOKUP_SEP.join([*rest[:-1], "pk"]): picture_pk})
    relation: Any = holder._meta.get_field(first)
    page, made = products.order_by("pk"), 0
    while found := list(page.values_list("pk", relation.target_field.attname)[:1_000]):
        rows = [holder(**{relation.attname: value}) for _, value in found]
        all_rows(holder, using).bulk_create(rows, ignore_conflicts=True)
        made += len(found)
        page = products.order_by("pk").filter(pk__gt=found[-1][0])
    return made
