"""Pages of the admin with rules of merchandising on them."""

import re

from django.contrib import admin
from django.urls import path

from shop_demo.urls import urlpatterns as shop_urls
from similar_products.merchandising.admin import PinsAndHidesInline, RuleAdmin
from similar_products.merchandising.models import Rule
from tests.models import CheapShirt, Lamp, PrintedShirt, Rug, Shelf, Vase


class ProductAdmin(admin.ModelAdmin):
    fields = ("name",)
    search_fields = ("name",)
    inlines = (PinsAndHidesInline,)


class LampAdmin(ProductAdmin):
    fields = ("code",)
    search_fields = ("code",)


site = admin.AdminSite()
site.register(Rule, RuleAdmin)
site.register([CheapShirt, Vase, Rug, PrintedShirt], ProductAdmin)
site.register(Lamp, LampAdmin)
site.register(Shelf)


# The shop's own page for what is not found leads to its other pages.
urlpatterns = [path("admin/", site.urls), *(page for page in shop_urls if "admin/" not in str(page))]


PREFIX = "similar_products_merchandising-rule-content_type-product_key"


def change_page(product, tail: str = "change/") -> str:
    return f"/admin/tests/{product._meta.model_name}/{admin.utils.quote(product.pk)}/{tail}"


def form(*rows: dict, before: int = 0, **values) -> dict:
    """Return what the browser sends for these rules of a product."""
    data = {f"{PREFIX}-TOTAL_FORMS": len(rows), f"{PREFIX}-INITIAL_FORMS": before, "name": "item 00", **values}
    for number, row in enumerate(rows):
        empty = {"action": "pin", "other_key": "", "place": ""}
        times = {f"{name}_{part}": "" for name in ("start", "end") for part in (0, 1)}
        for name, value in {**empty, **times, **row}.items():
            data[f"{PREFIX}-{number}-{name}"] = value
    return data


def errors(answer) -> list[str]:
    assert answer.status_code == 200
    found = re.findall(r'<ul class="errorlist[^"]*"[^>]*>(.*?)</ul>', answer.content.decode(), re.DOTALL)
    return re.findall("<li>(.*?)</li>", "".join(found), re.DOTALL)
