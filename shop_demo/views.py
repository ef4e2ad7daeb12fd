from collections.abc import Callable
from functools import reduce, wraps
from operator import or_
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views import defaults
from django.views.decorators.csrf import ensure_csrf_cookie

from similar_products.conf import get_settings
from similar_products.pictures.limits import PUBLIC

from .models import Category, Product

PRODUCTS_PER_PAGE = 30
STRIP_LENGTH = 6
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""blob: is the preview of a photo that has not left the browser."""
ORDERS = {"": ("name", "pk"), "price": ("price", "pk"), "-price": ("-price", "pk")}
SEARCHED = ("name", "category__name", "color", "pattern")

View = Callable[..., HttpResponse]


def with_policy(view: View) -> View:
    """Let the page load and run what comes from this shop alone: no other host, nothing inline."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Content-Security-Policy"] = POLICY
        return response

    return wrapped


not_found = with_policy(defaults.page_not_found)
server_error = with_policy(defaults.server_error)


class ListForm(forms.Form):
    """How a visitor narrows a list down and sorts it; an answer that is not valid counts as none."""

    q = forms.CharField(required=False, max_length=100)
    sort = forms.ChoiceField(
        required=False,
        choices=[("", "Name"), ("price", "Price, lowest first"), ("-price", "Price, highest first")],
        label="Sort by",
    )
    in_stock = forms.BooleanField(required=False, label="In stock only")

    def apply(self, products: QuerySet[Product]) -> QuerySet[Product]:
        self.is_valid()
        for word in self.cleaned_data.get("q", "").split():
            anywhere = [Q((f"{field}__icontains", word)) for field in SEARCHED]
            products = products.filter(reduce(or_, anywhere))
        if self.cleaned_data.get("in_stock"):
            products = products.filter(stock__gt=0)
        return products.order_by(*ORDERS[self.cleaned_data.get("sort", "")])


@with_policy
def product_list(request: HttpRequest, slug: str = "") -> HttpResponse:
    categories = list(Category.objects.with_cover())
    products: QuerySet[Product] = Product.objects.all()
    chosen = None
    if slug:
        chosen = next((category for category in categories if category.slug == slug), None)
        if chosen is None:
            raise Http404("No such category.")
        products = products.filter(category=chosen)
    form = ListForm(request.GET)
    paginator = Paginator(form.apply(products), PRODUCTS_PER_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    context = {
        "categories": categories,
        "category": chosen,
        "form": form,
        "words": form.cleaned_data.get("q", ""),
        "is_home": chosen is None and not request.GET,
        "page": page,
        "page_numbers": paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
    }
    return render(request, "shop_demo/product_list.html", context)


@with_policy
def product_detail(request: HttpRequest, pk: int) -> HttpResponse:
    product = get_object_or_404(Product.objects.select_related("category"), pk=pk)
    cheaper = Product.objects.filter(stock__gt=0, price__lt=product.price).similar_to(product)
    # Which of two that look the same is the cheaper one is for the visitor to see; it saves comparing them all, too.
    shown = cheaper.ranked(STRIP_LENGTH, near_duplicates=True)
    return render(request, "shop_demo/product_detail.html", {"product": product, "cheaper": shown})


@with_policy
@ensure_csrf_cookie  # who is logged in must send its token with a search
def visual_search(request: HttpRequest) -> HttpResponse:
    context = {
        "categories": Category.objects.all(),
        "fetch_urls": get_settings().fetch_urls,
        "max_bytes": PUBLIC.max_bytes,
        "product": _product_to_search_with(request.GET.get("product", "")),
    }
    return render(request, "shop_demo/visual_search.html", context)


def _product_to_search_with(key: str) -> Product | None:
    return Product.objects.filter(pk=int(key)).exclude(image="").first() if key.isdecimal() and len(key) < 20 else None
