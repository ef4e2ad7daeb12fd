"""What requests and answers contain, except for the product: that is for the shop's own serializer."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypedDict, TypeVar, cast

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import models
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from ..embedding.states import STATES
from ..pictures.fetch import MAX_URL
from ..pictures.gate import get_region
from ..pictures.limits import Region
from ..search.bands import WORDS
from ..search.placement import DERIVED_FIELDS, picture_of

FieldT = TypeVar("FieldT", bound=serializers.Field[Any, Any, Any, Any])

DEFAULT_LIMIT = 12
MAX_LIMIT = 100
MAX_EXCLUDED = 500


def key_field(model: type[models.Model]) -> Any:
    """Return the field with the primary key's own type, whatever relation leads to it."""
    field: Any = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    return field


def picture_url(product: models.Model, context: Mapping[str, Any]) -> str | None:
    """Return the address of a product's picture, or of the one that matched; ``None`` where it has none."""
    try:
        url: str = picture_of(product).url
    except (AttributeError, ValueError, NotImplementedError):  # no picture, or a storage without addresses
        return None
    return absolute(url, context)


def absolute(url: str, context: Mapping[str, Any]) -> str:
    request: Request | None = context.get("request")
    return url if request is None else request.build_absolute_uri(url)


# In.


class Fraction(serializers.FloatField):
    """A number from 0 to 1; DRF's own field takes NaN for one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0.0, max_value=1.0, **kwargs)

    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if math.isnan(value):
            self.fail("invalid")
        return value


class Keys(serializers.Field[Any, Any, Any, Any]):
    """Primary keys: the parameter repeated, or one with commas between them."""

    default_error_messages = {  # noqa: RUF012  as DRF declares it
        "invalid": gettext_lazy("{value!r} is not the key of a product."),
        "max_length": gettext_lazy("Maximum number of products to exclude: {max_length}."),
    }

    def get_value(self, dictionary: Any) -> Any:
        return dictionary.getlist(self.field_name) or serializers.empty

    def to_internal_value(self, data: list[str]) -> list[Any]:
        field = key_field(self.context["model"])
        keys = []
        for text in ",".join(data).split(","):
            if not text:
                continue
            try:
                if "\0" in text:
                    raise ValueError
                key = field.to_python(text)
                field.run_validators(key)
            except (DjangoValidationError, ValueError, TypeError, OverflowError):
                self.fail("invalid", value=text[:50])
            keys.append(key)
        if len(keys) > MAX_EXCLUDED:
            self.fail("max_length", max_length=MAX_EXCLUDED)
        return keys


class Options(TypedDict):
    """What ``OptionsSerializer`` returns."""

    limit: int
    min_similarity: float
    diversity: float
    exclude: Sequence[Any]


class OptionsSerializer(serializers.Serializer[Any]):
    """The app's parameters of the query string; the shop's filters read their own."""

    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    min_similarity = Fraction(default=0.0)
    diversity = Fraction(default=0.0)
    exclude = Keys(default=())


class RegionField(serializers.CharField):
    """``x,y,width,height`` in fractions of the upright picture."""

    def to_internal_value(self, data: Any) -> Region:  # type: ignore[override]
        text = super().to_internal_value(data)
        try:
            return get_region([float(part) for part in text.split(",")])
        except ValueError:
            raise ValidationError(
                gettext_lazy(
                    "Give x,y,width,height in fractions of the picture: not negative, with an area, and inside."
                )
            ) from None


class VisualSearchSerializer(serializers.Serializer[Any]):
    """What is searched for: one of ``image``, ``image_url`` and ``key``, and a ``region`` of the first two."""

    image = serializers.FileField(
        required=False, allow_empty_file=True, help_text=gettext_lazy("JPEG, PNG, WebP, GIF or AVIF, up to 10 MB.")
    )
    image_url = serializers.CharField(
        required=False, max_length=MAX_URL, help_text=gettext_lazy("URL of a picture; only where the shop allows it.")
    )
    key = serializers.CharField(
        required=False,
        max_length=64,
        help_text=gettext_lazy("The key of an earlier answer, valid for ten minutes, in place of the photo."),
    )
    region = RegionField(
        required=False, max_length=100, help_text=gettext_lazy("x,y,width,height in fractions of the upright picture.")
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in self.initial_data if name not in self.fields and name != "csrfmiddlewaretoken"]
        if unknown:
            raise ValidationError(
                gettext_lazy(
                    "Unknown: {name}. The body has image, image_url or key, and region; options and filters belong in "
                    "the query string."
                ).format(name=str(unknown[0])[:50].encode("ascii", "backslashreplace").decode()),
                "unknown_parameter",
            )
        if len([name for name in ("image", "image_url", "key") if name in attrs]) != 1:
            raise ValidationError(gettext_lazy("Send exactly one of image, image_url and key."), "exactly_one")
        if "key" in attrs and "region" in attrs:
            raise ValidationError(
                gettext_lazy(
                    "A key stands for a photo and its region; send the photo again to search for another region."
                ),
                "region_needs_photo",
            )
        return attrs


class VisualSearchWithoutFileSerializer(VisualSearchSerializer):
    """The JSON body, for the schema."""

    image = None  # type: ignore[assignment]


# Out.


class ProductCardSerializer(serializers.ModelSerializer[Any]):
    """A product where the shop names no serializer: its key, text, URL and picture."""

    name = serializers.CharField(source="__str__", read_only=True)
    url = serializers.SerializerMethodField()
    picture = serializers.SerializerMethodField()

    def get_url(self, product: models.Model) -> str | None:
        find = getattr(product, "get_absolute_url", None)
        return None if find is None else absolute(find(), self.context)

    def get_picture(self, product: models.Model) -> str | None:
        return picture_url(product, self.context)


@lru_cache(maxsize=64)
def card_serializer(model: type[models.Model]) -> type[ProductCardSerializer]:
    """Return the serializer for products of ``model`` where the shop names none."""
    meta = type("Meta", (), {"model": model, "fields": ("pk", "name", "url", "picture")})
    return type(f"{model.__name__}CardSerializer", (ProductCardSerializer,), {"Meta": meta})


class SimilarProductsErrorSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text=gettext_lazy("Error messages by parameter, where a parameter is not valid.")
    )


class SimilarProductsStatusSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    encoder = serializers.CharField()
    ready = serializers.IntegerField()
    pending = serializers.IntegerField()
    failed = serializers.IntegerField()
    last_embedded = serializers.DateTimeField(
        allow_null=True, help_text=gettext_lazy("Time of the last embedded picture, if the cache still has it.")
    )
    codes = serializers.DictField(
        child=serializers.IntegerField(), help_text=gettext_lazy("Number of failed pictures by error code.")
    )


class ResultSerializer(serializers.Serializer[Any]):
    """One product of an answer; ``answer_serializer`` adds ``product``."""

    rank = serializers.IntegerField(min_value=1)
    similarity = serializers.FloatField(
        min_value=0.0,
        max_value=1.0,
        allow_null=True,
        help_text=gettext_lazy("Cosine similarity; null for a product of the fallback."),
    )
    # Not a ChoiceField: the schema would name its enumeration, and the shop may want that name for one of its own.
    word = serializers.CharField(
        allow_null=True,
        help_text=format_lazy(
            "{words}; {null}", words=", ".join(WORDS), null=gettext_lazy("null if the encoder is not calibrated.")
        ),
    )
    word_display = serializers.CharField(
        allow_null=True, help_text=gettext_lazy("The word in the language of the request.")
    )
    matched_image = serializers.CharField(
        allow_null=True,
        help_text=gettext_lazy("URL of the picture that matched; null if a product has one picture only."),
    )
    fallback = serializers.BooleanField()


class AnswerSerializer(serializers.Serializer[Any]):
    """An answer; ``answer_serializer`` adds the results."""

    request_id = serializers.CharField()
    encoder = serializers.CharField()
    count = serializers.IntegerField(min_value=0, max_value=MAX_LIMIT)
    fallback = serializers.BooleanField(help_text=gettext_lazy("Whether the fallback chose any of the results."))


@lru_cache(maxsize=64)
def answer_serializer(product: type[serializers.Serializer[Any]], *, by_photo: bool) -> type[AnswerSerializer]:
    """Return the serializer that describes an answer with products of ``product``."""
    stem = product.__name__.removesuffix("Serializer")
    result = _result_serializer(product)
    fields: dict[str, Any] = {"results": result(many=True)}
    if by_photo:
        fields["key"] = serializers.CharField(
            help_text=gettext_lazy("Can be sent in place of the photo for ten minutes.")
        )
    else:
        fields["state"] = serializers.CharField(help_text=", ".join(STATES))
    name = f"{stem}{'Search' if by_photo else 'Similar'}Serializer"
    return cast("type[AnswerSerializer]", type(name, (AnswerSerializer,), fields))


@lru_cache(maxsize=64)
def _result_serializer(product: type[serializers.Serializer[Any]]) -> type[ResultSerializer]:
    stem = product.__name__.removesuffix("Serializer")
    return type(f"{stem}ResultSerializer", (ResultSerializer,), {"product": product()})


def without_vectors(serializer: FieldT) -> FieldT:
    """Return ``serializer`` without the derived columns, which ``fields = "__all__"`` would include."""
    fields = getattr(getattr(serializer, "child", serializer), "fields", {})
    for name, field in list(fields.items()):
        if field.source.rpartition(".")[2] in DERIVED_FIELDS:
            fields.pop(name)
        else:
            without_vectors(field)
    return serializer
