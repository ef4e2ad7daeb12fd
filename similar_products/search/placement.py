"""Where the vectors of a product stand, and what makes one of them current.

A *holder* is a model derived from ``VisuallySimilarModel``: the product itself, its pictures, or a companion of
either. A row is *current* when its ``embedding_source`` reads ``ENCODER|PICTURE`` with the name of the picture it
leads to now.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, cast
from uuid import uuid4

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import FileField, TextField
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields.files import FieldFile
from django.db.models.options import Options

from ..conf import get_settings
from .expressions import Condition, Written

DERIVED_FIELDS = ("embedding", "embedding_source", "embedding_error")
SOURCE_SEPARATOR = "|"
# Django's Concat wraps each part in COALESCE, by which a row whose picture is NULL would look current.
SOURCE = f"({{encoder}} || '{SOURCE_SEPARATOR}' || {{image}})"


class Holder(Protocol):
    """What is asked of a class derived from ``VisuallySimilarModel``, which itself stands above this module."""

    similar_image: ClassVar[str]
    _meta: "ClassVar[Options[Any]]"


class EncoderOf(Written):
    """The name of the encoder in the column ``source``."""

    output_field = TextField()

    def __init__(self, source: str) -> None:
        super().__init__(f"split_part({{source}}, '{SOURCE_SEPARATOR}', 1)", source=source)


def replaced_source() -> str:
    """Return a source that says "pending" of a picture whose bytes were replaced, be it under the same name.

    It is like none before, so that a vector that is being written right now comes late.
    """
    return f"replaced{SOURCE_SEPARATOR}{uuid4().hex}"


def source_of(encoder: Any, image: str) -> Written:
    """Return the expression ``ENCODER|PICTURE`` for the picture at the path ``image``."""
    return Written(SOURCE, encoder=encoder, image=image, output_field=TextField())


class IsCurrent(Condition):
    """The condition that a source names an encoder and a picture, the row's own."""

    def __init__(self, source: str, encoder: Any, image: str) -> None:
        super().__init__(f"{{source}} = {SOURCE}", source=source, encoder=encoder, image=image)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the vectors of a product stand, in paths of the ORM.

    ``holder``: the model with the vector; ``through``: from product to holder ('' where they are one);
    ``owner``: from holder back to product ('pk' where they are one); ``holder_image`` and ``product_image``:
    the picture's name seen from either; ``picture_field``: the file field that has it; ``several``: whether a product
    may have more than one holder.
    """

    holder: type[Any]  # a Model that is a Holder; Python's types know no "and"
    through: str
    owner: str
    holder_image: str
    product_image: str
    picture_field: FileField
    several: bool

    def from_product(self, field: str) -> str:
        """Return the path of a holder's field seen from the product."""
        return f"{self.through}{LOOKUP_SEP}{field}" if self.through else field

    def picture(self, product: models.Model, name: str | None) -> FieldFile:
        """Return the picture of that name as the file field gives it; falsy where there is no name."""
        return self.picture_field.attr_class(product, self.picture_field, name)


def get_placement(model: type[models.Model], through: str = "") -> Placement:
    """Return where ``model`` keeps its vectors; raise ``TypeError`` or ``FieldDoesNotExist`` saying why not.

    ``through`` is the path of relations to the model that has them; without it, what the model's manager or
    ``SIMILAR_PRODUCTS["PRODUCTS"]`` declares.
    """
    return _find_placement(model, through or declared_through(model))


@cache  # for the life of the process, as models are; the settings have been asked for the path already
def _find_placement(model: type[models.Model], through: str) -> Placement:
    hops = through.split(LOOKUP_SEP) if through else []
    reached, back, several = _follow(model, hops, through)
    holder = holder_of(reached)
    if holder is None:
        where = f"through={through!r} leads to {reached._meta.label}" if through else reached._meta.label
        raise TypeError(
            f"{where}, which is not derived from VisuallySimilarModel. Derive it, or name with through= the "
            "relation that leads to the model that is."
        )
    field = picture_field(holder)
    image = holder.similar_image.split(LOOKUP_SEP)
    # A companion's picture 'product__image' is the product's own 'image': no join there and back.
    shared = 0
    while shared < len(back) and image[shared] == back[shared]:
        shared += 1
    return Placement(
        holder=holder,
        through=through,
        owner=LOOKUP_SEP.join([*back, "pk"]),  # the key, whatever field a relation points to
        holder_image=LOOKUP_SEP.join(image),
        product_image=LOOKUP_SEP.join([*hops[: len(hops) - shared], *image[shared:]]),
        picture_field=field,
        several=several,
    )


def _follow(model: type[models.Model], hops: list[str], through: str) -> tuple[type[models.Model], list[str], bool]:
    """Return the model that ``hops`` lead to, the relations back again, and whether there may be several rows."""
    back: list[str] = []
    several = False
    for hop in hops:
        relation: Any = model._meta.get_field(hop)
        way_back = getattr(getattr(relation, "remote_field", None), "name", "+")
        if not relation.is_relation or relation.related_model is None or way_back.endswith("+"):
            raise TypeError(
                f"through={through!r} passes {model._meta.label}.{hop}, which is no relation to a model that "
                "leads back again. Name foreign keys, one-to-one or many-to-many relations, in either direction."
            )
        several = several or relation.one_to_many or relation.many_to_many
        back.insert(0, way_back)
        model = relation.related_model
    return model, back, several


def declared_through(model: type[models.Model]) -> str:
    """Return the path from ``model`` to its vectors that its manager declares, or else the settings; or ''."""
    through: str = getattr(model._default_manager, "_through", "")
    return through or get_settings().product(model).through


def root_of(model: type[models.Model]) -> type[models.Model]:
    """Return the model whose table gives ``model`` its keys: of a proxy and of a child table, the topmost parent.

    A child with a primary key of its own beside the link to its parent is another model, with keys of its own.
    """
    root: Any = model._meta.concrete_model
    while getattr(root._meta.pk.remote_field, "parent_link", False):
        root = root._meta.pk.remote_field.model._meta.concrete_model
    return cast("type[models.Model]", root)


def picture_of(product: models.Model, placement: Placement | None = None) -> Any:
    """Return a product's picture as its file field gives it, wherever its vectors stand; falsy where it has none.

    Of several pictures it is the one that ``similar_to`` found to be nearest, or else the first, which is a query.
    """
    placement = placement or get_placement(product.__class__)
    if not placement.several:
        picture: Any = product
        for name in placement.product_image.split(LOOKUP_SEP):
            picture = getattr(picture, name, None)
        return picture
    matched: str | None = getattr(product, "matched_image", None)
    return placement.picture(product, first_picture(placement, product.pk).first() if matched is None else matched)


def first_picture(placement: Placement, product: Any) -> "models.QuerySet[Any]":
    """Return the name of the first picture of a product with several, by the key of that: a query, or a subquery."""
    pictures: models.QuerySet[Any] = (
        models.QuerySet(placement.holder).filter(**{placement.owner: product}).order_by("pk")
    )
    return pictures.values_list(placement.holder_image, flat=True)[:1]


def holder_of(model: type[models.Model]) -> type[Any] | None:
    """Return the model whose table has the vectors of ``model``, or ``None`` where ``model`` has none."""
    # Asked by every manager's every queryset, so by look-ups alone.
    if not hasattr(model, "similar_image"):
        return None
    try:
        return model._meta.get_field("embedding").model
    except FieldDoesNotExist:  # a model of somebody else's with an attribute of that name
        return None


def dimensions_of(holder: type[Holder]) -> int:
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


def picture_field(holder: type[Holder]) -> FileField:
    """Return the file field that ``similar_image`` leads to.

    Raises ``FieldDoesNotExist`` with a sentence where it leads nowhere, to many rows or to no file.
    """
    where = f"{holder._meta.label}.similar_image is {holder.similar_image!r}"
    model = holder._meta.model
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
