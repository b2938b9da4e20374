"""Work: what `tenuto work shop.work` imports. It sets Django up, and imports the tasks of every app."""

import os

import django
from django.utils.module_loading import autodiscover_modules

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()
autodiscover_modules("tasks")
