"""The web: an order is stored with its job and its task, and a quote is awaited."""

import json
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from shop.durable import app
from shop.models import Order
from shop.tasks import confirm, quote, receipt
from tenuto import Answer, Completed, TimedOut
from tenuto.errors import JobNotFound


class CardRefused(Exception):
    """The order is not paid for."""


@csrf_exempt
def orders(request: HttpRequest) -> JsonResponse:
    """Place an order by POST; else all orders there are."""
    if request.method != "POST":
        return JsonResponse(list(Order.objects.order_by("id").values("id", "article", "confirmed")), safe=False)
    try:
        return JsonResponse(placed(**json.loads(request.body)), status=201)
    except CardRefused as refused:
        return JsonResponse({"detail": str(refused)}, status=402)


def placed(article: str, card: str) -> dict[str, Any]:
    """The order, its job and its task, all or none."""
    with transaction.atomic():
        order = Order.objects.create(article=article)
        stored = app.enqueue(confirm.new(order.id), conn=connection)
        sent = receipt.enqueue(order.id)  # the backend lends the connection itself
        if card == "expired":
            raise CardRefused("the card has expired")
    return {"order": order.id, "job": stored.id, "receipt": sent.id}


def receipts(request: HttpRequest, id: UUID) -> JsonResponse:
    """How the task stands."""
    result = receipt.get_result(str(id))
    return JsonResponse({"status": result.status, "text": result.return_value if result.is_finished else None})


@csrf_exempt
def quotes(request: HttpRequest) -> JsonResponse:
    """The quote, from whichever node makes it; after a second 202, and where to ask for it later."""
    relay = app.relay(quote.new(**json.loads(request.body)))
    return answer(relay.id, relay.outcome(timeout=1, with_retries=True))


def quote_of(request: HttpRequest, id: UUID) -> JsonResponse:
    """The quote that was asked for earlier, also before a restart; 202 while it is not there yet."""
    try:
        relay = app.relay_to(id)
    except JobNotFound:
        raise Http404 from None
    if relay.job.worker != quote.definition.name:  # an id of some other job opens nothing
        raise Http404
    return answer(relay.id, relay.outcome(timeout=0.2, with_retries=True))


def answer(id: str, outcome: Answer[dict[str, Any]]) -> JsonResponse:
    """A quote as the web tells it: 200, 202 while it is being made, 502 where its job came to nothing."""
    match outcome:
        case Completed(value):
            return JsonResponse({"id": id, "quote": value})
        case TimedOut():
            return JsonResponse({"id": id}, status=202, headers={"Location": f"/quotes/{id}"})
        case ended:
            return JsonResponse({"detail": f"there is no quote: {type(ended).__name__}"}, status=502)


urlpatterns = [
    path("orders", orders),
    path("receipts/<uuid:id>", receipts),
    path("quotes", quotes),
    path("quotes/<uuid:id>", quote_of),
]
