"""The OpenAPI of the actions, by drf-spectacular where it is installed; nothing where it is not."""

from typing import Any

from django.utils.translation import gettext_lazy

from .serializers import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    ProductCardSerializer,
    SimilarProductsErrorSerializer,
    SimilarProductsStatusSerializer,
    VisualSearchSerializer,
    VisualSearchWithoutFileSerializer,
    answer_serializer,
)

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
    OPTIONS = [
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            description=gettext_lazy("At most so many products."),
        ),
        OpenApiParameter(
            "min_similarity",
            {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
            description=gettext_lazy("Leaves out what is less similar."),
        ),
        OpenApiParameter(
            "diversity",
            {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
            description=gettext_lazy("Gives way to products that look like none before them."),
        ),
        OpenApiParameter(
            "exclude",
            {"type": "array", "items": {"type": "string"}, "maxItems": 500},
            description=gettext_lazy("Keys of products that are shown already."),
        ),
    ]
    DESCRIPTIONS = {
        "400": gettext_lazy("A parameter or the photo is wrong."),
        "401": gettext_lazy("Not logged in."),
        "403": gettext_lazy("Not allowed."),
        "404": gettext_lazy("There is no such product, or it may not be seen."),
        "406": gettext_lazy("No such format."),
        "410": gettext_lazy("The key is not valid any more."),
        "411": gettext_lazy("The length of the body is missing."),
        "413": gettext_lazy("The photo is too large."),
        "415": gettext_lazy("Neither a form nor JSON, or a photo in another format."),
        "429": gettext_lazy("Too many requests; Retry-After says when to come back."),
        "503": gettext_lazy("Too many photos at once; Retry-After says when to come back."),
    }

    def _errors(*codes: str) -> dict[Any, Any]:
        examples = {
            "400": OpenApiExample(
                "invalid",
                {
                    "detail": "limit: Ensure this value is less than or equal to 100.",
                    "code": "invalid",
                    "errors": {"limit": ["Ensure this value is less than or equal to 100."]},
                },
            ),
            "404": OpenApiExample("not found", {"detail": "Not found.", "code": "not_found"}),
            "410": OpenApiExample(
                "key_gone",
                {"detail": "This key is not valid any more; send the photo again.", "code": "key_gone"},
            ),
            "503": OpenApiExample(
                "busy", {"detail": "Too many photos at once; try again in a moment.", "code": "busy"}
            ),
        }
        return {
            (code, "application/json"): OpenApiResponse(
                SimilarProductsErrorSerializer,
                description=str(DESCRIPTIONS[code]),
                examples=[examples[code]] if code in examples else [],
            )
            for code in codes
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
            return list(self.view.filter_backends)  # whatever the operation is called

        def get_override_parameters(self) -> list[Any]:
            return OPTIONS

        def get_response_serializers(self) -> Any:
            answer = answer_serializer(self._product(), by_photo=self.by_photo)
            return {("200", "application/json"): answer, **_errors(*self.common)}

        def _product(self) -> Any:
            return type(self.view.get_product_serializer([]).child)

        def _found(self, **around: str) -> list[Any]:
            if not issubclass(self._product(), ProductCardSerializer):
                return []  # what the shop's own shows only the shop can tell
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
                "multipart/form-data": VisualSearchSerializer,
                "application/json": VisualSearchWithoutFileSerializer,
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
                ("200", "text/html"): OpenApiResponse(str, description=str(gettext_lazy("The fragment."))),
                ("304", "text/html"): OpenApiResponse(None, description=str(gettext_lazy("As it was."))),
                **_errors(*self.common),
            }

    class _Status(AutoSchema):
        def get_response_serializers(self) -> Any:
            return {("200", "application/json"): SimilarProductsStatusSerializer, **_errors("400", "401", "403", "429")}

    FragmentSchema, SearchSchema, SimilarSchema, StatusSchema = _Fragment, _Search, _Similar, _Status
