"""Which rows hold the vector of a picture, and the rows of companions that are still to be made."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP

from ..models import VisuallySimilarModel, get_holders
from ..query import SimilarQuerySet, all_rows
from ..search.placement import picture_field


class Hop(NamedTuple):
    """A field on the way from a row with a vector to its picture: a foreign key, or the file field at the end.

    ``path`` leads from ``holder``, the model of that row, to the model with the field; '' where it is the same.
    """

    holder: type[VisuallySimilarModel]
    path: str
    field: "Field[Any, Any]"

    def rows(self, key: Hashable, using: str) -> SimilarQuerySet[VisuallySimilarModel]:
        """Return the rows of ``holder`` that pass the row with the primary key ``key`` of the field's model."""
        name = self.field.model._meta.pk.name
        return all_rows(self.holder, using).filter(**{f"{self.path}{LOOKUP_SEP}{name}" if self.path else name: key})


def get_hops() -> list[Hop]:
    """Return every field whose value decides which picture a row with a vector has."""
    hops: list[Hop] = []
    for holder in get_holders():
        try:
            picture_field(holder)
        except FieldDoesNotExist:
            continue  # reported by a check, which a crash here would keep from running
        model: Any = holder
        names = holder.similar_image.split(LOOKUP_SEP)
        for place, name in enumerate(names):
            field = model._meta.get_field(name)
            hops.append(Hop(holder, LOOKUP_SEP.join(names[:place]), field))
            model = field.related_model
    return hops


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


def create_companions(
    holder: type[VisuallySimilarModel], using: str, *, behind: Hop | None = None, key: Any = None
) -> int:
    """Make the companion row of every product that lacks it, and return how many were made.

    With ``behind`` only the products are looked at whose way to the picture passes the row of that key there.
    """
    products = missing_companions(holder, using)
    if products is None or (behind is not None and not behind.path):  # the row itself was saved
        return 0
    first = holder.similar_image.partition(LOOKUP_SEP)[0]
    if behind is not None:
        relations = behind.path.split(LOOKUP_SEP)[1:]
        products = products.filter(**{LOOKUP_SEP.join([*relations, behind.field.model._meta.pk.name]): key})
    relation: Any = holder._meta.get_field(first)
    page, made = products.order_by("pk"), 0
    while found := list(page.values_list("pk", relation.target_field.attname)[:1_000]):
        rows = [holder(**{relation.attname: value}) for _, value in found]
        all_rows(holder, using).bulk_create(rows, ignore_conflicts=True)
        made += len(found)
        page = products.order_by("pk").filter(pk__gt=found[-1][0])
    return made
