"""The ready-made endpoints: ``path("api/", include("similar_products.rest_framework.urls"))``."""

from django.urls import URLPattern, path

from .views import ProductViewSet, get_api_model

app_name = "similar_products"

get_api_model()  # what the settings lack is said at the start, not at the first request


def _route(where: str, name: str) -> URLPattern:
    handler = getattr(ProductViewSet, name)
    options = {**handler.kwargs, "detail": handler.detail, "basename": "similar_products"}
    return path(where, ProductViewSet.as_view(dict(handler.mapping), **options), name=handler.url_name)


urlpatterns = [
    _route("products/search/", "search"),
    _route("products/status/", "status"),
    _route("products/<str:pk>/similar/", "similar"),
    _route("products/<str:pk>/similar/fragment/", "fragment"),
]
