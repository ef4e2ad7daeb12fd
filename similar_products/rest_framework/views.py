"""Similar products and search by photo, as actions for a shop's own ViewSet and as a ready-made ViewSet."""

import copy
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist, ValidationError
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpResponse, QueryDict
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.module_loading import import_string
from django.utils.translation import get_language
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as InvalidParameters
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import GenericViewSet

from ..conf import get_settings
from ..embedding.states import count_states, is_servable, last_embedded, pictures_of, state_of
from ..encoders import get_encoder
from ..pictures.gate import WHOLE
from ..pictures.uploads import length_of
from ..query import ranked, similar_to
from ..search.bands import WORDS
from ..search.photo import embed_photo
from ..search.placement import first_picture, get_placement
from ..search.ranking import RankingOptions
from ..search.rules import without_hidden
from ..search.scan import comparison_of
from ..search.targets import Target
from ..visibility import only_visible
from .exceptions import exception_handler
from .parsers import PhotoParser, SmallJSONParser
from .photos import fetch_photo, recall, remember
from .schema import FragmentSchema, SearchSchema, SimilarSchema, StatusSchema
from .serializers import (
    Options,
    OptionsSerializer,
    VisualSearchSerializer,
    card_serializer,
    picture_url,
    without_vectors,
)
from .throttles import SimilarProductsThrottle, VisualSearchThrottle

if TYPE_CHECKING:

    class FoundProduct(models.Model):  # noqa: DJ008  never made, for types only
        """A product of an answer: an instance of the shop's model, with what ``_find`` adds."""

        similarity: float
        likeness: str
        is_fallback: bool


logger = logging.getLogger(__name__)

FRAGMENT_TEMPLATE = "similar_products/similar_products.html"
"""The template of the tag."""
MAX_OFFERED = 1_000
"""Maximum number of products that are read of a fallback's list."""


class _SimilarityMixin(GenericViewSet):  # type: ignore[type-arg]
    """What the actions share. They use the ViewSet's own queryset, serializer, permissions and filters."""

    similarity_throttles: ClassVar[dict[str, type[SimilarProductsThrottle]]] = {}
    """The actions that a class adds, each with its throttle; it leaves a shop's own of the same name alone."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler if self._throttle() else super().get_exception_handler()

    def get_throttles(self) -> list[BaseThrottle]:
        throttle = self._throttle()
        return [*super().get_throttles(), *([throttle()] if throttle else [])]

    def _throttle(self) -> type[SimilarProductsThrottle] | None:
        action = getattr(self, "action", None)
        found = (vars(each).get("similarity_throttles", {}).get(action) for each in type(self).__mro__)
        return next(filter(None, found), None)

    def get_product_serializer(self, products: "Sequence[models.Model]") -> BaseSerializer[Any]:
        """Return the serializer for the products of an answer: the ViewSet's own."""
        return self.get_serializer(products, many=True)

    def _visible(self) -> "QuerySet[models.Model]":
        request = getattr(self, "request", None)
        return only_visible(self.get_queryset(), getattr(request, "_request", None))

    def _filtered(self) -> "QuerySet[models.Model]":
        products = self._visible()
        filtered = self.filter_queryset(products)
        if filtered.query.is_sliced or filtered.query.combinator:  # in which the index cannot find the nearest
            return products.filter(pk__in=filtered.values("pk"))
        return products.filter(pk__in=filtered.order_by().values("pk")) if filtered.query.distinct else filtered

    def _options(self) -> Options:
        serializer = OptionsSerializer(data=self.request.query_params, context={"model": self._visible().model})
        serializer.is_valid(raise_exception=True)
        return cast("Options", serializer.validated_data)

    def _anchor(self) -> Any:
        """Return the product in the URL with its pictures. Raises the same ``NotFound`` for a hidden and a missing one.

        Filters apply without their parameters: these narrow the products found, so that a sold-out product finds
        others in stock. A filter that decides who may see what applies to both.
        """
        products = self._visible()
        plain = _without_parameters(self.request)
        for backend in self.filter_backends:
            with suppress(InvalidParameters):  # a filter that needs a parameter
                products = backend().filter_queryset(plain, products, self)
        value = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        if "\0" in str(value):
            raise NotFound
        try:
            products = products.filter(**{self.lookup_field: value})
            product = products.annotate(similar_products_pictures=pictures_of(products.model)).order_by()[0]
        except (IndexError, ObjectDoesNotExist, ValidationError, ValueError, TypeError, OverflowError):
            raise NotFound from None
        self.check_object_permissions(self.request, product)
        return product

    def _find(self, target: Target, options: Options, anchor: Any = None) -> "tuple[list[FoundProduct], str]":
        """Return the products for an answer, and the name of the encoder that compared them."""
        products, limit, exclude = self._filtered(), options["limit"], options["exclude"]
        found: list[FoundProduct] = []
        if anchor is None or is_servable(anchor.similar_products_pictures):
            similar = similar_to(products, target)
            if comparison := comparison_of(similar.query):
                similar = similar.annotate(_compared_by=comparison.encoder)
            rules = RankingOptions(
                min_similarity=options["min_similarity"], exclude=exclude, diversity=options["diversity"]
            )
            found = cast("list[FoundProduct]", ranked(similar, limit, **rules))
        encoders = [row.__dict__.pop("_compared_by") for row in found]
        for row in found:
            row.is_fallback = False
        if len(found) < limit:
            own = [] if anchor is None else [anchor.pk]
            offered = without_hidden(products.exclude(pk__in={*(row.pk for row in found), *exclude, *own}), own)
            found += fall_back(offered, self.request, anchor, limit - len(found))
        return found, encoders[0] if encoders else get_encoder().name

    def _answer(self, found: "list[FoundProduct]", encoder: str, **around: str) -> Response:
        several = bool(found) and get_placement(found[0].__class__).several
        context = self.get_serializer_context()
        shown = without_vectors(self.get_product_serializer(found)).data
        results = [
            {
                "rank": rank,
                "similarity": None if row.is_fallback else round(row.similarity, 4),
                "word": row.likeness or None,
                "word_display": str(WORDS[row.likeness]) if row.likeness else None,
                "matched_image": picture_url(row, context) if several and not row.is_fallback else None,
                "fallback": row.is_fallback,
                "product": product,
            }
            for rank, (row, product) in enumerate(zip(found, shown, strict=True), 1)
        ]
        request_id = uuid.uuid4().hex
        logger.debug("%s: %s returned %d products.", request_id, self.action, len(results))
        is_fallback = any(row.is_fallback for row in found)
        head = {"request_id": request_id, "encoder": encoder, "count": len(results), "fallback": is_fallback}
        return Response({**head, **around, "results": results})


def _state(anchor: Any) -> str:
    """Return the state of a product of ``_anchor``."""
    return state_of(anchor.similar_products_pictures, get_encoder().name)


def _without_parameters(request: Request) -> Request:
    plain = copy.copy(request)
    plain._request = copy.copy(request._request)
    plain._request.GET = QueryDict()
    return plain


def fall_back(
    products: "QuerySet[models.Model]", request: Request, anchor: models.Model | None, missing: int
) -> "list[FoundProduct]":
    """Return up to ``missing`` of ``products`` as the function named as ``FALLBACK`` chooses and orders them.

    Whatever it returns, only what is in ``products`` is shown: they are visible, filtered and not shown yet.
    """
    path = get_settings().product(products.model).fallback
    if not path:
        return []
    offered: Iterable[Any] = import_string(path)(products, request._request, anchor)
    if isinstance(offered, QuerySet) and _can_be_filtered(offered, products.model):
        rows = list(_with_picture(offered.filter(pk__in=products.order_by().values("pk")))[:missing])
    else:
        keys = _keys_of(offered, products.model)
        by_key = _with_picture(products.filter(pk__in=keys)).in_bulk() if keys else {}
        rows = [by_key[key] for key in keys if key in by_key]
    found = cast("list[FoundProduct]", list({row.pk: row for row in rows}.values())[:missing])
    for row in found:
        row.likeness, row.is_fallback = "", True
    return found


def _can_be_filtered(offered: "QuerySet[models.Model]", model: type[models.Model]) -> bool:
    is_open = not (offered.query.is_sliced or offered.query.combinator)
    gives_rows = offered._fields is None  # type: ignore[attr-defined]
    return is_open and gives_rows and _is_same_model(offered.model, model)


def _is_same_model(one: type[models.Model], other: type[models.Model]) -> bool:
    return one._meta.concrete_model is other._meta.concrete_model


def _keys_of(offered: Iterable[Any], model: type[models.Model]) -> list[Any]:
    """Return the keys among the first ``MAX_OFFERED`` of what a fallback returned: instances of ``model``, or keys."""
    if isinstance(offered, QuerySet) and not offered.query.is_sliced:
        offered = offered[:MAX_OFFERED]
    return [
        each.pk if isinstance(each, models.Model) else each
        for each in islice(offered, MAX_OFFERED)
        if not isinstance(each, models.Model) or _is_same_model(each.__class__, model)
    ]


def _with_picture(products: "QuerySet[models.Model]") -> "QuerySet[models.Model]":
    """Annotate the first of several pictures, as ``picture_of`` reads it; it would be a query for each product."""
    placement = get_placement(products.model)
    if not placement.several:
        return products
    pictured: QuerySet[models.Model] = products.annotate(
        matched_image=Subquery(first_picture(placement, OuterRef("pk")))
    )
    return pictured


class SimilarProductsMixin(_SimilarityMixin):
    """Adds ``GET {pk}/similar/`` to a ViewSet of products.

    It uses the ViewSet's queryset, serializer, permissions, throttles, filter backends and lookup field. What
    ``SIMILAR_PRODUCTS["PRODUCTS"]`` names as ``VISIBLE`` applies as well.
    """

    similarity_throttles: ClassVar = {"similar": SimilarProductsThrottle}

    @action(detail=True, methods=["get"], url_path="similar", url_name="similar", schema=SimilarSchema)
    def similar(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the products that look like this one, the most similar first."""
        options = self._options()
        anchor = self._anchor()
        found, encoder = self._find(anchor, options, anchor)
        return self._answer(found, encoder, state=_state(anchor))


class VisualSearchMixin(_SimilarityMixin):
    """Adds ``POST search/`` to a ViewSet of products; see ``SimilarProductsMixin``."""

    similarity_throttles: ClassVar = {"search": VisualSearchThrottle}

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        # The form of the browsable API is for a photo, not for a product.
        if getattr(self, "action", None) == "search" and not args and "instance" not in kwargs:
            return VisualSearchSerializer(**kwargs)
        return super().get_serializer(*args, **kwargs)

    @action(
        detail=False,
        methods=["post"],
        url_path="search",
        url_name="search",
        parser_classes=[PhotoParser, SmallJSONParser],
        schema=SearchSchema,
    )
    def search(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the products that look like a photo or a region of it. The photo is not stored."""
        if request.headers.get("transfer-encoding"):  # without a length Django takes it for no body at all
            length_of(request._request)
        options = self._options()
        serializer = VisualSearchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        if "key" in wanted:
            key, vector = wanted["key"], recall(wanted["key"])
        else:
            photo = wanted["image"] if "image" in wanted else fetch_photo(wanted["image_url"])
            vector = embed_photo(photo, wanted.get("region", WHOLE))
            key = remember(vector)
        found, encoder = self._find(vector, options)
        return self._answer(found, encoder, key=key)


class _NoNegotiation(DefaultContentNegotiation):
    """Takes the first renderer whatever the request accepts: the fragment is HTML, its errors are JSON."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class ProductViewSet(SimilarProductsMixin, VisualSearchMixin, GenericViewSet):  # type: ignore[type-arg]
    """The ready-made ViewSet, for the model that ``SIMILAR_PRODUCTS["API"]`` names."""

    similarity_throttles: ClassVar = {"fragment": SimilarProductsThrottle, "status": SimilarProductsThrottle}

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def get_queryset(self) -> "QuerySet[models.Model]":
        products: QuerySet[models.Model] = get_api_model()._default_manager.all()
        return products

    def get_serializer_class(self) -> Any:
        path = get_settings().api.serializer
        return import_string(path) if path else card_serializer(get_api_model())

    @property
    def filter_backends(self) -> list[Any]:  # type: ignore[override]
        backends = list(api_settings.DEFAULT_FILTER_BACKENDS)
        if get_settings().api.filterset:
            from django_filters.rest_framework import DjangoFilterBackend  # here: it is optional

            if DjangoFilterBackend not in backends:
                backends.append(DjangoFilterBackend)
        return backends

    @property
    def filterset_class(self) -> Any:
        path = get_settings().api.filterset
        return import_string(path) if isinstance(path, str) and path else None

    @property
    def filterset_fields(self) -> Any:
        names = get_settings().api.filterset
        return None if isinstance(names, str) else names

    @action(
        detail=True,
        methods=["get"],
        url_path="similar/fragment",
        url_name="fragment",
        renderer_classes=[JSONRenderer],
        content_negotiation_class=_NoNegotiation,
        schema=FragmentSchema,
    )
    def fragment(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """Return the similar products as HTML of the tag's template, to be inserted into a page."""
        options = self._options()
        anchor = self._anchor()
        found, _ = self._find(anchor, options, anchor)
        page = {"product": anchor, "similar_products": found}
        html = render_to_string(FRAGMENT_TEMPLATE, page, request._request).strip()
        response = HttpResponse(html)
        tag = hashlib.sha256(f"{get_language()} {_state(anchor)} {html}".encode()).hexdigest()[:32]
        response["ETag"] = f'"{tag}"'
        patch_cache_control(response, private=True, max_age=get_settings().api.fragment_max_age)
        patch_vary_headers(response, ("Accept-Language", "Cookie", "Authorization"))
        known = get_conditional_response(request._request, etag=response["ETag"], response=response)
        return known if known is not None and known.status_code == HTTPStatus.NOT_MODIFIED else response

    @action(
        detail=False,
        methods=["get"],
        url_path="status",
        url_name="status",
        permission_classes=[IsAdminUser],
        schema=StatusSchema,
    )
    def status(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return how many pictures are ready, pending and failed, and when one was last embedded; for staff."""
        model = get_api_model()
        holder, using = get_placement(model).holder, model._default_manager.all().db
        when = last_embedded(holder, using)
        head = {"model": model._meta.label, "encoder": get_encoder().name, "last_embedded": when}
        return Response({**head, **count_states(holder, using)})


def get_api_model() -> type[models.Model]:
    """Return the model of the ready-made URLs; raise ``ImproperlyConfigured`` where the settings name none."""
    label = get_settings().api.model
    try:
        model: type[models.Model] = apps.get_model(label)
        get_placement(model)
    except (LookupError, ValueError, TypeError) as error:
        raise ImproperlyConfigured(
            f"SIMILAR_PRODUCTS['API']['MODEL'] is {label!r}; valid is the label of a product model, as in "
            f"'shop.Product': {error}"
        ) from error
    return model
