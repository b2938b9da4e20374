"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """What somebody ordered."""

    article = models.TextField()
    confirmed = models.BooleanField(default=False)
