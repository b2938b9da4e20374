"""Settings: the database of the shop is that of its jobs, so that one transaction can hold both."""

import os
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

import django

TENUTO_URL = os.environ.get("TENUTO_URL", "sqlite:///shop.db")
_url = urlsplit(TENUTO_URL)

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": TENUTO_URL.removeprefix("sqlite:///"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # who reads first and writes then is not told that it is locked
    }
    if _url.scheme == "sqlite"
    else {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.removeprefix("/"),
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "HOST": _url.hostname or "",
        "PORT": _url.port or "",
    }
}

TASKS = {
    "default": {
        "BACKEND": "tenuto.django.TasksBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"app": "shop.durable.app"},
    }
}

INSTALLED_APPS = ["shop"]
if django.VERSION < (6, 0) and find_spec("django_tasks"):
    INSTALLED_APPS.append("django_tasks")

SECRET_KEY = os.environ.get("SECRET_KEY", "an example has none")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.views"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
