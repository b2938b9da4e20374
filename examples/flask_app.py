"""A shop with Flask: an order and the job that confirms it are one transaction, and a quote is awaited from a job.

    pip install flask gunicorn sqlalchemy
    tenuto migrate && flask --app flask_app create-tables
    gunicorn --preload --workers 4 --threads 8 flask_app:web
    tenuto work flask_app                                 as many of these as you like

TENUTO_URL says which database: sqlite:///shop.db, or postgresql://… (then: pip install 'tenuto[postgres]').
"""

import time
from typing import Any
from uuid import UUID

from flask import Flask, abort, request, url_for
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.exceptions import BadGateway

from tenuto import Answer, Completed, TimedOut, blocking, job
from tenuto.errors import JobNotFound

app = blocking.Tenuto(queues={})  # nothing is opened here: each process that gunicorn forks opens its own, when needed
engine = create_engine(app.config.url.replace("postgresql://", "postgresql+psycopg://"))
web = Flask(__name__)


# ── what is kept, and the jobs ────────────────────────────────────────────────────────────────────


class Base(DeclarativeBase):
    """The shop's own tables, in the database of the jobs."""


class Order(Base):
    """What somebody ordered."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]
    confirmed: Mapped[bool] = mapped_column(default=False)


@job
def confirm(order: int) -> None:
    """Tell the customer. The order is there: it was committed together with this job."""
    with Session(engine) as session, session.begin():
        session.get_one(Order, order).confirmed = True


@job
def quote(article: str, pieces: int, haggle: float = 0) -> dict[str, Any]:
    """What so many pieces cost. It takes `haggle` seconds."""
    time.sleep(haggle)
    return {"article": article, "price": pieces * len(article)}


# ── the web ───────────────────────────────────────────────────────────────────────────────────────


@web.cli.command("create-tables")
def create_tables() -> None:
    """Make the shop's tables: `flask --app flask_app create-tables`."""
    Base.metadata.create_all(engine)


@web.post("/orders")
def place_order() -> tuple[dict[str, Any], int]:
    """The order and its job, both or none; they are committed before anybody is told that it worked."""
    asked = request.get_json()
    with Session(engine, expire_on_commit=False) as session, session.begin():
        order = Order(article=asked["article"])
        session.add(order)
        session.flush()  # it has an id from here on
        stored = app.enqueue(confirm.new(order.id), conn=session)
        charge(asked["card"])
    return {"order": order.id, "job": stored.id}, 201


def charge(card: str) -> None:
    """Whatever it raises, neither the order nor the job was ever there."""
    if card == "expired":
        abort(409, "the card has expired")


@web.get("/orders")
def list_orders() -> list[dict[str, Any]]:
    """All orders there are."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).order_by(Order.id))
        return [{"order": order.id, "article": order.article, "confirmed": order.confirmed} for order in orders]


@web.post("/quotes")
def ask_for_quote() -> tuple[dict[str, Any], int, dict[str, str]]:
    """The quote, from whichever node makes it; after a second 202, and where to ask for it later."""
    relay = app.relay(quote.new(**request.get_json()))
    return answer(relay.id, relay.outcome(timeout=1, with_retries=True))


@web.get("/quotes/<uuid:id>")
def fetch_quote(id: UUID) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The quote that was asked for earlier, also before a restart; 202 while it is not there yet."""
    try:
        relay = app.relay_to(id)
    except JobNotFound:
        abort(404)
    if relay.job.worker != quote.definition.name:  # an id of some other job opens nothing
        abort(404)
    return answer(relay.id, relay.outcome(timeout=0.2, with_retries=True))


def answer(id: str, outcome: Answer[dict[str, Any]]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """A quote as the web tells it: 200, 202 while it is being made, 502 where its job came to nothing."""
    match outcome:
        case Completed(value):
            return {"id": id, "quote": value}, 200, {}
        case TimedOut():
            return {"id": id}, 202, {"Location": url_for("fetch_quote", id=id)}
        case ended:
            raise BadGateway(f"there is no quote: {type(ended).__name__}")
