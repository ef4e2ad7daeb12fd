"""A shop's API: ViewSets of its own with our actions, and the ready-made endpoints beside them."""

from django.db.models import QuerySet
from django.urls import include, path
from django_filters import rest_framework as filters
from drf_spectacular.views import SpectacularAPIView
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.routers import DefaultRouter
from rest_framework.serializers import ModelSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from similar_products.rest_framework.views import SimilarProductsMixin, VisualSearchMixin
from tests.models import Shirt


class ShirtSerializer(ModelSerializer):
    class Meta:
        model = Shirt
        fields = ("id", "name", "color", "price")


class ShirtFilter(filters.FilterSet):
    max_price = filters.NumberFilter(field_name="price", lookup_expr="lte")

    class Meta:
        model = Shirt
        fields = ("color",)


class ShirtViewSet(SimilarProductsMixin, VisualSearchMixin, ReadOnlyModelViewSet):
    queryset = Shirt.objects.all()
    serializer_class = ShirtSerializer
    filter_backends = (filters.DjangoFilterBackend, SearchFilter, OrderingFilter)
    filterset_class = ShirtFilter
    search_fields = ("name",)
    ordering = ("name",)


def bestsellers(products: QuerySet, request, target) -> QuerySet:
    """Return what a shop shows where too little is similar: the products with the last names first."""
    return products.order_by("-name")


router = DefaultRouter()
router.register("shirts", ShirtViewSet)

urlpatterns = [
    path("api/", include("similar_products.rest_framework.urls")),
    path("own/", include(router.urls)),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
]
