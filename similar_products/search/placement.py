"""Where the vectors of a product stand, and what makes one of them current.

A *holder* is a model derived from ``VisuallySimilarModel``: the product itself, its pictures, or a companion of
either. A row is *current* when its ``embedding_source`` reads ``ENCODER|PICTURE`` with the name of the picture it
leads to now.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import F, FileField, Func, TextField, Value
from django.db.models.constants import LOOKUP_SEP
from django.db.models.functions import Cast
from pgvector.django import HalfVectorField

from ..conf import get_settings
from .expressions import Condition, Written

if TYPE_CHECKING:
    from ..models import VisuallySimilarModel

DERIVED_FIELDS = ("embedding", "embedding_source", "embedding_error")
SOURCE_SEPARATOR = "|"


class Concatenate(Func):
    """SQL's ``||``. Django's Concat wraps each part in COALESCE, which makes NULL pictures look current."""

    arg_joiner = " || "
    template = "(%(expressions)s)"
    output_field = TextField()


class EncoderOf(Written):
    """The name of the encoder in the column ``source``."""

    output_field = TextField()

    def __init__(self, source: str) -> None:
        super().__init__(f"split_part({{source}}, '{SOURCE_SEPARATOR}', 1)", source=source)


def source_of(encoder: Any, image: str) -> Concatenate:
    """Return the expression ``ENCODER|PICTURE`` for the picture at the path ``image``."""
    return Concatenate(encoder, Value(SOURCE_SEPARATOR), F(image))


def half(embedding: str, dimensions: int) -> Cast:
    """Return the very expression that the HNSW index stands on; any other loses the index."""
    return Cast(embedding, HalfVectorField(dimensions=dimensions))


class IsCurrent(Condition):
    """The condition that a source names an encoder and a picture, the row's own."""

    def __init__(self, source: Any, encoder: Any, image: Any) -> None:
        super().__init__(
            f"{{source}} = ({{encoder}} || '{SOURCE_SEPARATOR}' || {{image}})",
            source=source,
            encoder=encoder,
            image=image,
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the vectors of a product stand, in paths of the ORM.

    ``holder``: the model with the vector; ``through``: from product to holder ('' where they are one);
    ``owner``: from holder back to product ('pk' where they are one); ``holder_image`` and ``product_image``:
    the picture's name seen from either; ``several``: whether a product may have more than one holder.
    """

    holder: "type[VisuallySimilarModel]"
    through: str
    owner: str
    holder_image: str
    product_image: str
    several: bool

    def from_product(self, field: str) -> str:
        """Return the path of a holder's field seen from the product."""
        return f"{self.through}{LOOKUP_SEP}{field}" if self.through else field


def get_placement(model: type[models.Model], through: str = "") -> Placement:
    """Return where ``model`` keeps its vectors; raise ``TypeError`` or ``FieldDoesNotExist`` saying why not.

    ``through`` is the path of relations to the model that has them; without it, what the model's manager or
    ``SIMILAR_PRODUCTS["PRODUCTS"]`` declares.
    """
    through = through or declared_through(model)
    current: type[models.Model] = model
    back: list[str] = []
    several = False
    hops = through.split(LOOKUP_SEP) if through else []
    for hop in hops:
        relation: Any = current._meta.get_field(hop)
        way_back = getattr(getattr(relation, "remote_field", None), "name", "+")
        if not relation.is_relation or relation.related_model is None or way_back.endswith("+"):
            raise TypeError(
                f"through={through!r} passes {current._meta.label}.{hop}, which is no relation to a model that "
                "leads back again. Name foreign keys, one-to-one or many-to-many relations, in either direction."
            )
        several = several or relation.one_to_many or relation.many_to_many
        back.insert(0, way_back)
        current = relation.related_model
    holder = holder_of(current)
    if holder is None:
        reached = f"through={through!r} leads to {current._meta.label}" if through else current._meta.label
        raise TypeError(
            f"{reached}, which is not derived from VisuallySimilarModel. Derive it, or name with through= the "
            "relation that leads to the model that is."
        )
    picture_field(holder)
    holder_hops = holder.similar_image.split(LOOKUP_SEP)
    # A companion's picture 'product__image' is the product's own 'image': no join there and back.
    forth, remaining, returning = list(hops), list(holder_hops), list(back)
    while forth and returning and remaining and remaining[0] == returning[0]:
        forth.pop()
        remaining.pop(0)
        returning.pop(0)
    return Placement(
        holder=holder,
        through=through,
        owner=LOOKUP_SEP.join([*back, "pk"]),  # the key, whatever field a relation points to
        holder_image=LOOKUP_SEP.join(holder_hops),
        product_image=LOOKUP_SEP.join(forth + remaining),
        several=several,
    )


def declared_through(model: type[models.Model]) -> str:
    """Return the path from ``model`` to its vectors that its manager declares, or else the settings; or ''."""
    through: str = getattr(model._default_manager, "_through", "")
    return through or get_settings().product(model).through


def picture_of(product: models.Model) -> Any:
    """Return a product's picture as its file field gives it, wherever its vectors stand; falsy where it has none.

    Of several pictures it is the one that ``similar_to`` found to be nearest, or else the first, which is a query.
    """
    placement = get_placement(product.__class__)
    field = picture_field(placement.holder)
    if not placement.several:
        picture: Any = product
        for name in placement.product_image.split(LOOKUP_SEP):
            picture = getattr(picture, name, None)
        return picture
    matched: str | None = getattr(product, "matched_image", None)
    if matched is None:
        pictures = placement.holder._base_manager.filter(**{placement.owner: product.pk}).order_by("pk")
        matched = pictures.values_list(placement.holder_image, flat=True).first()
    return field.attr_class(product, field, matched)


def holder_of(model: type[models.Model]) -> "type[VisuallySimilarModel] | None":
    """Return the model whose table has the vectors of ``model``, or ``None`` where ``model`` has none."""
    # Asked by every manager's every queryset, so by look-ups alone.
    if not hasattr(model, "similar_image"):
        return None
    try:
        holder: type[VisuallySimilarModel] = model._meta.get_field("embedding").model  # type: ignore[assignment]
    except FieldDoesNotExist:  # a model of somebody else's with an attribute of that name
        return None
    return holder


def dimensions_of(holder: "type[VisuallySimilarModel]") -> int:
    """Return the number of dimensions that the model's own ``embedding`` field declares.

    Raises ``ImproperlyConfigured`` where it declares none.
    """
    dimensions = getattr(holder._meta.get_field("embedding"), "dimensions", None)
    if dimensions is None:
        raise ImproperlyConfigured(
            f"{holder._meta.label}.embedding declares no dimensions; write VectorField(dimensions=1280, null=True, "
            "blank=True, editable=False, serialize=False)."
        )
    return int(dimensions)


def picture_field(holder: "type[VisuallySimilarModel]") -> "FileField":
    """Return the file field that ``similar_image`` leads to.

    Raises ``FieldDoesNotExist`` with a sentence where it leads nowhere, to many rows or to no file.
    """
    where = f"{holder._meta.label}.similar_image is {holder.similar_image!r}"
    model: type[models.Model] = holder
    *relations, name = holder.similar_image.split(LOOKUP_SEP)
    for relation in relations:
        field = _field_or_sentence(model, relation, where)
        if not (field.one_to_one or field.many_to_one) or field.related_model is None:
            raise FieldDoesNotExist(
                f"{where}, but {model._meta.label}.{relation} is no foreign key or one-to-one relation."
            )
        model = field.related_model
    field = _field_or_sentence(model, name, where)
    if not isinstance(field, FileField):
        raise FieldDoesNotExist(f"{where}, but {model._meta.label}.{name} is no ImageField or FileField.")
    return field


def _field_or_sentence(model: type[models.Model], name: str, where: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        known = ", ".join(
            sorted(
                field.name
                for field in model._meta.get_fields()
                if isinstance(field, FileField) or (field.is_relation and field.concrete)
            )
        )
        raise FieldDoesNotExist(
            f"{where}, but {model._meta.label} has no field {name!r}; "
            + (f"file fields and relations there: {known}." if known else "it has no file field at all.")
        ) from None
