"""Run in the folder of the pasted shop: ``python try_in_shop.py WHAT [ARGUMENT]``; exit code 1 where it fails."""

import ast
import json
import os
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any

import django
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import models
from django.template import engines
from django.test import Client, RequestFactory
from django.urls import get_resolver, reverse

from tests.drawn_pictures import picture_bytes

COUNT = 48
HUES = ("tomato", "navy", "gold", "teal", "pink", "olive", "coral", "indigo")
CATEGORIES = ("Dresses", "Hats", "Shoes")


def fill() -> None:
    """Give each model of the shop its rows: in three categories, one picture twice, the last one damaged."""
    for model in apps.get_app_config("shop").get_models():
        for number in range(1, COUNT + 1):
            if not model._default_manager.filter(pk=number).exists():
                model(pk=number, **{field.name: _value(field, number) for field in _fields(model)}).save()


def _fields(model: type[models.Model]) -> list[Any]:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    return [field for field in fields if not field.name.startswith("embedding")]


def _value(field: Any, number: int) -> Any:
    if isinstance(field, models.FileField):
        return ContentFile(_picture(number), f"{number}.png")
    if isinstance(field, models.ForeignKey):
        return field.related_model._default_manager.get(pk=number)
    if isinstance(field, models.DecimalField | models.IntegerField):
        return Decimal(number)
    if isinstance(field, models.CharField):
        return CATEGORIES[number % 3] if field.name == "category" else f"Product {number}"
    raise TypeError(f"The fill knows no value for {field!r}.")


def _picture(number: int) -> bytes:
    if number == COUNT:
        return b"damaged"
    drawn = 17 if number == COUNT - 1 else number
    colors = [HUES[drawn % 8], HUES[drawn // 8], ("white", "black", "grey")[drawn % 3]]
    return picture_bytes(*colors, *(["red"] * (drawn % 4)), size=(96, 96))


def shell(code: str) -> None:
    """Run statements as the interactive shell does: what one evaluates to is shown, so querysets are fetched."""
    names: dict[str, Any] = {}
    for statement in ast.parse(code).body:
        single = ast.Interactive([statement])
        exec(compile(single, "<shell>", "single"), names)


def file(name: str) -> None:
    """Check the project after a file was written, and use the file as Django would."""
    call_command("check", fail_level="WARNING")
    if name.endswith("admin.py"):
        _open_admin()
    elif name.endswith("urls.py"):
        assert import_module("mysite.urls").urlpatterns
        assert get_resolver().url_patterns
    elif name == "gunicorn.conf.py":  # gunicorn runs it by its path as well
        run_path(name)["post_worker_init"](None)
    else:
        import_module(name.removesuffix(".py").replace("/", "."))


def _client() -> Client:
    user = get_user_model().objects.filter(is_superuser=True).first()
    client = Client(headers={"host": "localhost"})
    client.force_login(user or get_user_model().objects.create_superuser("staff"))
    return client


def _open_admin() -> None:
    client = _client()
    for model in admin.site._registry:
        if model._meta.app_label == "shop":
            for page in (
                reverse(f"admin:shop_{model._meta.model_name}_changelist"),
                reverse(f"admin:shop_{model._meta.model_name}_change", args=(12,)),
            ):
                answer = client.get(page)
                assert answer.status_code == 200, f"{page}: {answer.status_code}"
                assert "similar" in answer.content.decode(), f"{page} shows nothing of the app"


def template(text: str) -> None:
    """Render a template for a product, with all that the page of an admin gives it."""
    product = apps.get_app_config("shop").get_model("Product")._default_manager.get(pk=12)
    rendered = engines["django"].from_string(text).render({"product": product}, RequestFactory().get("/"))
    for address in re.findall(r'fetch\("(.+?)"\)', rendered):
        answer = _client().get(address)
        assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.content[:500]!r}"
        rendered = answer.content.decode()
    assert "similar-products__item" in rendered, rendered


def request(line: str) -> None:
    """Print the JSON that the API answers to ``GET /path/``, to staff."""
    method, address = line.split()
    answer = getattr(_client(), method.lower())(address)
    sys.stdout.write(json.dumps(answer.json()) + "\n")


ACTIONS: dict[str, Callable[..., None]] = {
    "fill": fill,
    "shell": shell,
    "file": file,
    "template": template,
    "request": request,
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    django.setup()
    ACTIONS[sys.argv[1]](*sys.argv[2:])
