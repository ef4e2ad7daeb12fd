"""``similar_to``: SQL only. The vector never leaves the database, and no model is opened to answer.

A *holder* is a model derived from ``VisuallySimilarModel``: the product itself or a companion of it. A row is
*current* when its ``embedding_source`` reads ``ENCODER|PICTURE`` with the name of the picture it leads to now.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import Case, Exists, F, FileField, Func, Q, Subquery, TextField, Value, When
from django.db.models.constants import LOOKUP_SEP
from django.db.models.functions import Cast
from django.db.models.lookups import IsNull
from pgvector.django import CosineDistance, HalfVectorField

from .encoders import get_encoder

if TYPE_CHECKING:
    from .models import VisuallySimilarModel

DERIVED_FIELDS = ("embedding", "embedding_source", "embedding_error")
SOURCE_SEPARATOR = "|"

ModelT = TypeVar("ModelT", bound=models.Model)


class Concatenate(Func):
    """SQL's ``||``. Django's Concat wraps each part in COALESCE, which makes NULL pictures look current."""

    arg_joiner = " || "
    template = "(%(expressions)s)"
    output_field = TextField()


class SplitPart(Func):
    function = "split_part"
    output_field = TextField()


class IterativeScan(Func):
    """Switches pgvector's iterative scan on for this one statement.

    Without it a filter that matches 10 % of the rows gets 4 of 12 rows. An uncorrelated subquery is run
    before the index scan, needs no transaction and no extra round trip, and leaves nothing behind.
    """

    template = "(SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true))"
    output_field = TextField()


def source_of(encoder: Any, image: str) -> Concatenate:
    """Return the expression ``ENCODER|PICTURE`` for the picture at the path ``image``."""
    return Concatenate(encoder, Value(SOURCE_SEPARATOR), F(image))


def encoder_of(source: str) -> SplitPart:
    """Return the expression for the encoder's name in the column ``source``."""
    return SplitPart(source, Value(SOURCE_SEPARATOR), Value(1))


def half(embedding: str, dimensions: int) -> Cast:
    """Return the very expression that the HNSW index stands on; any other loses the index."""
    return Cast(embedding, HalfVectorField(dimensions=dimensions))


def is_current(source: str, image: str, encoder: Any) -> IsNull:
    """Return the condition that ``source`` names ``encoder`` and the row's own picture.

    PostgreSQL takes a plain ``=`` for true on 0.5 % of the rows and drops the index for a scan of the whole
    table (264 ms against 2); a CASE that is not null it takes for true on 99.5 %.
    """
    return IsNull(Case(When(Q(**{source: source_of(encoder, image)}), then=Value(1))), False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the vectors of a product stand, in paths of the ORM.

    ``holder``: the model with the vector; ``through``: from product to holder ('' where they are one);
    ``owner``: from holder back to product ('pk' where they are one); ``holder_image`` and ``product_image``:
    the picture's name seen from either.
    """

    holder: "type[VisuallySimilarModel]"
    through: str
    owner: str
    holder_image: str
    product_image: str

    def from_product(self, field: str) -> str:
        """Return the path of a holder's field seen from the product."""
        return f"{self.through}{LOOKUP_SEP}{field}" if self.through else field


def get_placement(model: type[models.Model], through: str = "") -> Placement:
    """Return where ``model`` keeps its vectors; raise ``TypeError`` or ``FieldDoesNotExist`` saying why not."""
    current: type[models.Model] = model
    back: list[str] = []
    hops = through.split(LOOKUP_SEP) if through else []
    for hop in hops:
        relation = current._meta.get_field(hop)
        if not relation.one_to_one:
            raise TypeError(
                f"through={through!r} passes {current._meta.label}.{hop}, which is not a one-to-one relation."
            )
        back.insert(0, relation.remote_field.name)  # type: ignore[union-attr]
        current = relation.related_model  # type: ignore[assignment]
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
    )


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


def similar_to(
    queryset: "models.QuerySet[ModelT]", target: models.Model, *, through: str = ""
) -> "models.QuerySet[ModelT]":
    """Return the products of ``queryset`` that look like ``target``, nearest first: lazy, one query.

    Each carries ``distance``, the cosine distance in 0..2 to the target, which itself is left out. Only rows
    made by the target's encoder from their present picture count; a target without such a vector has no
    similar products. Filter before or after, then slice: without a LIMIT PostgreSQL cannot use the index.

    ``through`` names the relation to the vectors where they stand on a one-to-one companion. Raises
    ``TypeError`` where ``target`` is no instance of the queryset's model or the model has no vectors.
    """
    placement = get_placement(queryset.model, through)
    if not isinstance(target, models.Model) or (target._meta.concrete_model not in _relatives(queryset.model)):
        raise TypeError(
            f"similar_to() on {queryset.model._meta.label} takes one of its instances, not {type(target).__name__}."
        )
    if target.pk is None:
        return queryset.none()
    dimensions = dimensions_of(placement.holder)
    seeds = (
        placement.holder._base_manager.filter(**{placement.owner: target.pk}, embedding__isnull=False)
        .filter(is_current("embedding_source", placement.holder_image, encoder_of("embedding_source")))
        .order_by()
    )
    vector = Subquery(seeds.values(vector=half("embedding", dimensions))[:1])
    encoder = Subquery(seeds.values(encoder=encoder_of("embedding_source"))[:1])
    embedding = placement.from_product("embedding")
    found: Any = (
        queryset.filter(
            # Run once and first: without a vector to compare with nothing is scanned.
            Exists(seeds),
            IsNull(IterativeScan(), False),
            # An inner join: ordering through a LEFT JOIN loses the index.
            **{f"{embedding}__isnull": False},
        )
        .filter(is_current(placement.from_product("embedding_source"), placement.product_image, encoder))
        .exclude(pk=target.pk)
        .annotate(distance=CosineDistance(half(embedding, dimensions), vector))
        # Ascending distance and then the key is the one ordering that keeps the index and is stable.
        .order_by("distance", "pk")
    )
    if not found.query.standard_ordering:  # reverse() before similar_to() would list the farthest first
        found = found.reverse()
    return cast("models.QuerySet[ModelT]", found)


def _relatives(model: type[models.Model]) -> set[Any]:
    """Return the concrete models that share their primary keys with ``model``: table parents and children.

    A child with a primary key of its own beside the link to its parent shares nothing.
    """
    concrete: Any = model._meta.concrete_model
    family, remaining = set(), [concrete]
    while remaining:
        member = remaining.pop()
        family.add(member)
        links = [(parent, link) for parent, link in member._meta.parents.items() if link is not None]
        links += [
            (relation.related_model, relation.field)
            for relation in member._meta.related_objects
            if getattr(relation, "parent_link", False)
        ]
        remaining += [relative for relative, link in links if link.primary_key and relative not in family]
    return family


def reset_derived(row: models.Model, *, only_deferred: bool = False) -> None:
    """Set the derived columns of an instance to their defaults, as an INSERT needs them."""
    for field in row._meta.concrete_fields:
        if field.name in DERIVED_FIELDS and not (only_deferred and field.attname in row.__dict__):
            row.__dict__[field.attname] = field.get_default()


class SimilarQuerySet(models.QuerySet[ModelT]):
    """A queryset that knows ``similar_to`` and the three states of a row."""

    _through = ""

    def similar_to(self, target: models.Model) -> Self:
        """Return the rows that look like ``target``; see ``similar_products.query.similar_to``."""
        return similar_to(self, target, through=self._through)  # type: ignore[return-value]

    def with_picture(self) -> Self:
        """Return the rows that lead to a picture."""
        return self.filter(**{f"{self._own().holder_image}__gt": ""})

    def pending(self) -> Self:
        """Return the rows whose picture the encoder in the settings has not yet been tried on."""
        return self.with_picture().exclude(embedding_source=self._wanted())

    def ready(self) -> Self:
        """Return the rows with a vector of the encoder in the settings, made from their present picture."""
        return self.with_picture().filter(embedding_source=self._wanted(), embedding__isnull=False)

    def failed(self) -> Self:
        """Return the rows whose present picture the encoder in the settings could not use."""
        return self.with_picture().filter(embedding_source=self._wanted(), embedding__isnull=True)

    def bulk_create(self, objs: Iterable[ModelT], *args: Any, **kwargs: Any) -> list[ModelT]:
        objs = list(objs)
        if holder_of(self.model):
            for row in objs:
                reset_derived(row, only_deferred=True)  # of a clone they would be fetched by the new key
        return super().bulk_create(objs, *args, **kwargs)

    def only(self, *fields: str) -> Self:
        # Django subtracts what is deferred already: without the reset only("embedding") on our deferring
        # base manager would be an empty mask, and reading a deferred field would reload all columns over
        # unsaved changes.
        return super(SimilarQuerySet, self.defer(None)).only(*fields)

    def _own(self) -> Placement:
        if self._through:
            raise TypeError(
                f"The vectors of {self.model._meta.label} stand on {self._through!r}: ask "
                f"{get_placement(self.model, self._through).holder._meta.label} for their state."
            )
        return get_placement(self.model)

    def _wanted(self) -> Concatenate:
        return source_of(Value(get_encoder().name), self._own().holder_image)

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._through = self._through
        return clone


class SimilarManager(models.Manager.from_queryset(SimilarQuerySet)[ModelT]):  # type: ignore[misc]
    """The manager of ``VisuallySimilarModel``: it never loads the derived columns unless they are named.

    A product model whose vectors stand on a companion takes it as ``SimilarManager(through="visual")``, with
    the name of the relation from product to companion.
    """

    def __init__(self, *, through: str = "") -> None:
        super().__init__()
        self._through = through

    def get_queryset(self) -> SimilarQuerySet[ModelT]:
        queryset: SimilarQuerySet[ModelT] = super().get_queryset()
        # Managers of relations are made by Django from this class, without its arguments.
        queryset._through = self._through or getattr(self.model._default_manager, "_through", "")
        if holder_of(self.model) is None:
            return queryset
        # 30 products load in 0.4-0.8 ms without their vectors and in 13-20 ms with them.
        return queryset.defer(*DERIVED_FIELDS)
