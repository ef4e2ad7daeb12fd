"""The OpenAPI: complete, valid, and what the endpoints do."""

import io
import json
from collections.abc import Iterator

import pytest
import schemathesis
from django.core.cache import cache
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from jsonschema import Draft4Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from similar_products.rest_framework.photos import remember
from tests.catalogues import CATALOGUES, Item, Picture, at_angle
from tests.profiles import often

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OURS = [
    ("/api/products/{id}/similar/", "GET"),
    ("/api/products/{id}/similar/fragment/", "GET"),
    ("/api/products/search/", "POST"),
    ("/api/products/status/", "GET"),
    ("/own/shirts/{id}/similar/", "GET"),
    ("/own/shirts/search/", "POST"),
]
CASES = often(40, nightly=400)
"""For each of the endpoints."""


@pytest.fixture(autouse=True)
def _api(settings) -> Iterator[None]:
    settings.ROOT_URLCONF = "tests.api"
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "DEFAULT_THROTTLE_RATES": {"similar_products": None, "similar_products_search": None},
    }
    settings.ALLOWED_HOSTS = ["*"]
    cache.clear()
    # As Django's own test client does: the connection has the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_schema__is_generated_without_a_warning():
    out, err = io.StringIO(), io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out, stderr=err)
    assert err.getvalue() == ""
    assert "/api/products/{id}/similar/:" in out.getvalue()


def get_schema() -> dict:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    validate_schema(schema)
    return json.loads(json.dumps(schema, default=str))


def test_schema__has_options_filters_and_the_shops_product():
    schema = get_schema()
    operation = schema["paths"]["/own/shirts/{id}/similar/"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        *("id", "limit", "min_similarity", "diversity", "exclude"),
        *("color", "max_price", "search", "ordering"),
    }
    answer = schema["components"]["schemas"]["ShirtSimilar"]["properties"]
    assert answer["results"]["items"] == {"$ref": "#/components/schemas/ShirtResult"}
    product = schema["components"]["schemas"]["ShirtResult"]["properties"]["product"]
    assert product["$ref"] == "#/components/schemas/Shirt"
    body = schema["paths"]["/own/shirts/search/"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}


def test_schema__examples_are_valid():
    schema = get_schema()
    examples = 0
    for operations in schema["paths"].values():
        for operation in operations.values():
            bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
            for body in bodies:
                for media in body.get("content", {}).values():
                    for example in media.get("examples", {}).values():
                        wanted = nullable({**media["schema"], "components": schema["components"]})
                        Draft4Validator(wanted).validate(example["value"])
                        examples += 1
    assert examples >= 20


def nullable(schema):
    """Return a schema of OpenAPI 3.0 as JSON Schema has it: null as a type."""
    if isinstance(schema, list):
        return [nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: nullable(part) for name, part in schema.items()}
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


@pytest.mark.parametrize(("path", "method"), OURS)
def test_every_answer__is_as_the_schema_says(path, method, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": False}
    items = [Item(f"item {number}", [Picture(at_angle(number / 10))]) for number in range(5)]
    CATALOGUES["product" if path.startswith("/own/") else "companions of pictures"].fill(items)
    keys = [str(item.row.pk) for item in items]
    schema = schemathesis.openapi.from_dict(get_schema())
    schema.app = get_wsgi_application()
    operation = schema[path][method]
    statuses: dict[int, int] = {}
    key = remember(at_angle(0.1))

    @hypothesis_settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def run(case) -> None:
        number = sum(statuses.values())
        # What the schema cannot know: keys of products and of photos.
        if "id" in (case.path_parameters or {}) and number % 4:
            case.path_parameters["id"] = keys[number % len(keys)]
        if "exclude" in (case.query or {}) and number % 3:
            case.query["exclude"] = keys[:number]
        if isinstance(case.body, dict) and number % 2:
            case.body = {"key": key}
        with transaction.atomic():
            response = case.call()
            transaction.set_rollback(True)
        case.validate_response(response, checks=CHECKS)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1

    run()
    assert sum(statuses.values()) >= CASES * 0.9
    assert statuses.keys() >= ({403} if path.endswith("/status/") else {200, 400})
