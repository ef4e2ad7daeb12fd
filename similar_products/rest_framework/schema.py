"""The OpenAPI schema of the actions, by drf-spectacular where it is installed."""

from typing import Any

from django.utils.translation import gettext, gettext_lazy

from . import serializers

FragmentSchema: Any = None
SearchSchema: Any = None
SimilarSchema: Any = None
StatusSchema: Any = None

try:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
except ImportError:
    pass
else:
    FRACTION = {"type": "number", "minimum": 0, "maximum": 1, "default": 0}
    OPTIONS = [
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": serializers.MAX_LIMIT, "default": serializers.DEFAULT_LIMIT},
            description=gettext_lazy("Maximum number of products."),
        ),
        OpenApiParameter("min_similarity", FRACTION, description=gettext_lazy("Minimum similarity of the products.")),
        OpenApiParameter(
            "diversity",
            FRACTION,
            description=gettext_lazy("A higher value prefers products that look different from those before them."),
        ),
        OpenApiParameter(
            "exclude",
            {"type": "array", "items": {"type": "string"}, "maxItems": serializers.MAX_EXCLUDED},
            description=gettext_lazy("Keys of products to exclude."),
        ),
    ]
    DESCRIPTIONS = {
        "400": gettext_lazy("A parameter or the photo is not valid."),
        "401": gettext_lazy("Authentication is required."),
        "403": gettext_lazy("Permission denied."),
        "404": gettext_lazy("There is no such product, or it is not visible."),
        "410": gettext_lazy("The key is not valid any more."),
        "411": gettext_lazy("The request has a body without Content-Length."),
        "413": gettext_lazy("The photo is too large."),
        "415": gettext_lazy("The body is neither a form nor JSON, or the photo has another format."),
        "429": gettext_lazy("Too many requests; Retry-After says when to try again."),
        "503": gettext_lazy("Too many photos at once; Retry-After says when to try again."),
    }
    TOO_HIGH = "Ensure this value is less than or equal to 100."
    ERRORS: dict[str, dict[str, Any]] = {
        "400": {"detail": f"limit: {TOO_HIGH}", "code": "invalid", "errors": {"limit": [TOO_HIGH]}},
        "404": {"detail": "Not found.", "code": "not_found"},
        "410": {"detail": "This key is not valid any more; send the photo again.", "code": "key_gone"},
        "503": {"detail": "Too many photos at once; try again in a moment.", "code": "busy"},
    }

    def _errors(*statuses: str) -> dict[Any, Any]:
        return {
            (status, "application/json"): OpenApiResponse(
                serializers.SimilarProductsErrorSerializer,
                description=str(DESCRIPTIONS[status]),
                examples=[OpenApiExample(ERRORS[status]["code"], ERRORS[status])] if status in ERRORS else [],
            )
            for status in statuses
        }

    RESULT = {
        "rank": 1,
        "similarity": 0.9312,
        "word": "very similar",
        "word_display": "very similar",
        "matched_image": None,
        "fallback": False,
    }
    CARD = {
        "pk": 42,
        "name": "Summer dress",
        "url": "https://shop.example/dresses/42/",
        "picture": "https://shop.example/media/products/42.jpg",
    }
    AROUND = {"request_id": "5f0c1c5be2a44a0c8a7e8a0a6a1d8f3e", "encoder": "mobilenet_v2_100_224", "count": 1}
    KEY = "Jx2m0cTq1mYl0pQkqv3v6w"

    class _Schema(AutoSchema):
        view: Any
        common: tuple[str, ...] = ("400", "401", "403", "404", "429")
        by_photo = False

        def get_filter_backends(self) -> list[Any]:
            return list(self.view.filter_backends)  # spectacular itself asks for those of a list only

        def get_override_parameters(self) -> list[Any]:
            return OPTIONS

        def get_response_serializers(self) -> Any:
            answer = serializers.answer_serializer(self._product(), by_photo=self.by_photo)
            return {("200", "application/json"): answer, **_errors(*self.common)}

        def _product(self) -> Any:
            return type(self.view.get_product_serializer([]).child)

        def _found(self, **around: str) -> list[Any]:
            if not issubclass(self._product(), serializers.ProductCardSerializer):
                return []  # only the shop knows what its own serializer returns
            answer = {**AROUND, "fallback": False, **around, "results": [{**RESULT, "product": CARD}]}
            return [OpenApiExample("found", answer, response_only=True)]

    class _Similar(_Schema):
        def get_examples(self) -> list[Any]:
            pending = {**AROUND, "count": 0, "fallback": False, "state": "pending", "results": []}
            return [*self._found(state="ready"), OpenApiExample("pending", pending, response_only=True)]

    class _Search(_Schema):
        common = ("400", "401", "403", "410", "411", "413", "415", "429", "503")
        by_photo = True

        def get_request_serializer(self) -> Any:
            return {
                "multipart/form-data": serializers.VisualSearchSerializer,
                "application/json": serializers.VisualSearchWithoutFileSerializer,
            }

        def get_examples(self) -> list[Any]:
            by_url = {"image_url": "https://example.com/dress.jpg", "region": "0.1,0.2,0.5,0.6"}
            return [
                OpenApiExample("by URL", by_url, request_only=True),
                OpenApiExample("by key", {"key": KEY}, request_only=True),
                *self._found(key=KEY),
            ]

    class _Fragment(_Schema):
        def get_response_serializers(self) -> Any:
            return {
                ("200", "text/html"): OpenApiResponse(str, description=gettext("The similar products as HTML.")),
                ("304", "text/html"): OpenApiResponse(None, description=gettext("Not modified.")),
                **_errors(*self.common),
            }

    class _Status(AutoSchema):
        def get_response_serializers(self) -> Any:
            return {
                ("200", "application/json"): serializers.SimilarProductsStatusSerializer,
                **_errors("400", "401", "403", "429"),
            }

    FragmentSchema, SearchSchema, SimilarSchema, StatusSchema = _Fragment, _Search, _Similar, _Status
