from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import ensure_csrf_cookie

from similar_products.conf import get_settings
from similar_products.decoder import PUBLIC

from .models import Category, Product

PRODUCTS_PER_PAGE = 30
STRIP_LENGTH = 6
SEARCH_POLICY = "default-src 'self'; img-src 'self' data: blob:"
"""blob: is the preview of a photo that has not left the browser."""


def product_list(request: HttpRequest, slug: str = "") -> HttpResponse:
    categories = list(Category.objects.all())
    products = Product.objects.all()
    chosen = None
    if slug:
        chosen = next((category for category in categories if category.slug == slug), None)
        if chosen is None:
            raise Http404("No such category.")
        products = products.filter(category=chosen)
    paginator = Paginator(products, PRODUCTS_PER_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    context = {
        "categories": categories,
        "category": chosen,
        "page": page,
        "page_numbers": paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
    }
    return render(request, "shop_demo/product_list.html", context)


def product_detail(request: HttpRequest, pk: int) -> HttpResponse:
    product = get_object_or_404(Product.objects.select_related("category"), pk=pk)
    cheaper = Product.objects.filter(stock__gt=0, price__lt=product.price).similar_to(product)[:STRIP_LENGTH]
    return render(request, "shop_demo/product_detail.html", {"product": product, "cheaper": cheaper})


@ensure_csrf_cookie  # who is logged in must send its token with a search
def visual_search(request: HttpRequest) -> HttpResponse:
    context = {
        "categories": Category.objects.all(),
        "fetch_urls": get_settings().fetch_urls,
        "max_bytes": PUBLIC.max_bytes,
    }
    response = render(request, "shop_demo/visual_search.html", context)
    response["Content-Security-Policy"] = SEARCH_POLICY
    return response
