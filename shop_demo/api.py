"""What the ready-made endpoints under /api/ show of a product, and what they can be narrowed down by."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework import serializers

from .models import Product


class ProductSerializer(serializers.ModelSerializer[Product]):
    url = serializers.CharField(source="get_absolute_url", read_only=True)

    class Meta:
        model = Product
        fields = ("id", "name", "url", "image", "price", "stock")


class ProductFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    category = filters.CharFilter(field_name="category__slug")
    min_price = filters.NumberFilter(field_name="price", lookup_expr="gte")
    max_price = filters.NumberFilter(field_name="price", lookup_expr="lte")
    in_stock = filters.BooleanFilter(method="filter_in_stock")

    def filter_in_stock(self, products: QuerySet[Product], name: str, value: Any) -> QuerySet[Product]:
        return products.filter(stock__gt=0) if value else products.filter(stock=0)
