"""A shop with FastAPI: an order and the job that confirms it are one transaction, and a quote is awaited from a job.

    pip install fastapi uvicorn 'sqlalchemy[asyncio]' aiosqlite
    tenuto migrate
    TENUTO_QUEUES=default=10 uvicorn fastapi_app:web      serves and works, in one process
    uvicorn fastapi_app:web                               serves alone ...
    tenuto work fastapi_app                               ... and as many of these as you like work

TENUTO_URL says which database: sqlite:///shop.db, or postgresql://… (then: pip install 'tenuto[postgres]').
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tenuto import Answer, Completed, Tenuto, TimedOut, job
from tenuto.errors import JobNotFound

app = Tenuto()  # its url, and whether it works in this process, come from the environment
engine = create_async_engine(
    app.config.url.replace("sqlite://", "sqlite+aiosqlite://").replace("postgresql://", "postgresql+psycopg://")
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


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
async def confirm(order: int) -> None:
    """Tell the customer. The order is there: it was committed together with this job."""
    async with sessions.begin() as session:
        (await session.get_one(Order, order)).confirmed = True


@job
async def quote(article: str, pieces: int, haggle: float = 0) -> dict[str, Any]:
    """What so many pieces cost. It takes `haggle` seconds."""
    await asyncio.sleep(haggle)
    return {"article": article, "price": pieces * len(article)}


# ── the web ───────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[None]:
    """Open the app on the loop that serves; at the end its jobs have their grace."""
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    async with app:
        web.state.tenuto = app
        yield
    await engine.dispose()


def the_app(request: Request) -> Tenuto:
    """The app, for an endpoint; tests give another one by `web.dependency_overrides`."""
    found: Tenuto = request.app.state.tenuto
    return found


App = Annotated[Tenuto, Depends(the_app)]
web = FastAPI(lifespan=lifespan)


class NewOrder(BaseModel):
    """What is ordered, and how it is paid."""

    article: str
    card: str


class NewQuote(BaseModel):
    """What a price is asked for."""

    article: str
    pieces: int
    haggle: float = 0


@web.post("/orders", status_code=201)
async def place_order(asked: NewOrder, tenuto: App) -> dict[str, Any]:
    """The order and its job, both or none; they are committed before anybody is told that it worked."""
    async with sessions.begin() as session:
        order = Order(article=asked.article)
        session.add(order)
        await session.flush()  # it has an id from here on
        stored = await tenuto.enqueue(confirm.new(order.id), conn=session)
        charge(asked.card)
    return {"order": order.id, "job": stored.id}


def charge(card: str) -> None:
    """Whatever it raises, neither the order nor the job was ever there."""
    if card == "expired":
        raise HTTPException(402, "the card has expired")


@web.get("/orders")
async def list_orders() -> list[dict[str, Any]]:
    """All orders there are."""
    async with sessions() as session:
        orders = await session.scalars(select(Order).order_by(Order.id))
    return [{"order": order.id, "article": order.article, "confirmed": order.confirmed} for order in orders]


@web.post("/quotes")
async def ask_for_quote(asked: NewQuote, tenuto: App, response: Response) -> dict[str, Any]:
    """The quote, from whichever node makes it; after a second 202, and where to ask for it later."""
    relay = await tenuto.relay(quote.new(asked.article, asked.pieces, asked.haggle))
    return answer(relay.id, await relay.outcome(timeout=1, with_retries=True), response)


@web.get("/quotes/{id}")
async def fetch_quote(id: UUID, tenuto: App, response: Response) -> dict[str, Any]:
    """The quote that was asked for earlier, also before a restart; 202 while it is not there yet."""
    try:
        relay = await tenuto.relay_to(id)
    except JobNotFound:
        raise HTTPException(404) from None
    if relay.job.worker != quote.definition.name:  # an id of some other job opens nothing
        raise HTTPException(404)
    return answer(relay.id, await relay.outcome(timeout=0.2, with_retries=True), response)


def answer(id: str, outcome: Answer[dict[str, Any]], response: Response) -> dict[str, Any]:
    """A quote as the web tells it: 200, 202 while it is being made, 502 where its job came to nothing."""
    match outcome:
        case Completed(value):
            return {"id": id, "quote": value}
        case TimedOut():
            response.status_code = 202
            response.headers["Location"] = f"/quotes/{id}"
            return {"id": id}
        case ended:
            raise HTTPException(502, f"there is no quote: {type(ended).__name__}")
