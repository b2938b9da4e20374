"""What runs elsewhere: jobs of Tenuto, and a task of Django's own framework, side by side."""

import time
from typing import Any

from shop.models import Order
from tenuto import job

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


@job
def confirm(order: int) -> None:
    """Tell the customer. The order is there: it was committed together with this job."""
    Order.objects.filter(id=order).update(confirmed=True)


@job
def quote(article: str, pieces: int, haggle: float = 0) -> dict[str, Any]:
    """What so many pieces cost. It takes `haggle` seconds."""
    time.sleep(haggle)
    return {"article": article, "price": pieces * len(article)}


@task(queue_name="mail")
def receipt(order: int) -> str:
    """What is sent to the customer."""
    return f"Thank you for {Order.objects.get(id=order).article}."
