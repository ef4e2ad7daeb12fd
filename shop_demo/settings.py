"""Settings of the demo shop. They serve one visitor on this computer, never the public."""

import os
from pathlib import Path
from typing import Any

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "demo-only-public-and-therefore-worthless-never-use-it-for-a-real-shop"  # noqa: S105
DEBUG = os.environ.get("SHOP_DEMO_DEBUG", "1") != "0"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "similar_products",
    "similar_products.merchandising",
    "shop_demo",
]

SIMILAR_PRODUCTS: dict[str, Any] = {
    "API": {
        "MODEL": "shop_demo.Product",
        "SERIALIZER": "shop_demo.api.ProductSerializer",
        "FILTERSET": "shop_demo.api.ProductFilter",
    },
    # Written by calibrate_similarity on the drawn catalogue, for the model in the package.
    "BANDS": BASE_DIR / "shop_demo" / "bands.json",
    "FETCH_URLS": os.environ.get("SHOP_DEMO_FETCH_URLS") == "1",
}
# Without SIMILAR_PRODUCTS_MODEL (a URL or a folder) the encoder is the model in the package.
if "SIMILAR_PRODUCTS_MODEL" in os.environ:
    SIMILAR_PRODUCTS["ENCODER"] = {
        "BACKEND": "similar_products.encoders.TFHubEncoder",
        "OPTIONS": {"handle": os.environ["SIMILAR_PRODUCTS_MODEL"]},
    }
# The search page asks again whenever a filter changes, which costs no inference.
REST_FRAMEWORK: dict[str, Any] = {"DEFAULT_THROTTLE_RATES": {"similar_products_search": "60/min"}}

if "DATABASE_URL" in os.environ:
    DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
else:
    DATABASES = {
        "default": {
            "ENGINE": "shop_demo.embedded_postgres",
            "NAME": "postgres",
            "HOST": str(BASE_DIR / ".postgres"),
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "shop_demo.urls"
WSGI_APPLICATION = "shop_demo.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "media"
