"""Durable: the app of this project, for views. Nothing is opened here; each process opens its own when it needs it."""

from django.conf import settings

from tenuto.blocking import Tenuto

app = Tenuto(settings.TENUTO_URL, queues={})  # it only enqueues and awaits; `tenuto work shop.work` works
