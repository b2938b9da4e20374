"""A paper reviewed by several models, and their reviews put together by one more: what it says, and what it cost.

    python examples/model_review.py                       asks a fake server of models, which it starts itself
    python examples/model_review.py --models URL          asks the server there, in the same few words
    tenuto --url sqlite:///review.db workflows costs      what it cost, again
    tenuto --url sqlite:///review.db workflows debug ID   what was asked, and what was answered

One of the models is always away. The review is made of what the others say: that is what `partial` means. No library of
any vendor is needed: a request is JSON over HTTP, and what it took stands in the answer.
"""

import argparse
import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenuto import Debugging, Price, Snooze, Tenuto, Workflow, blocking, job, results

PAPER = "Six jobs in a queue: on the manners of those who wait."
MODELS = ["owl-large", "wren-small", "finch-beta"]
PRICING = {  # of a million tokens, in whatever currency
    "owl-large": Price("3.00", "15.00", cached="0.30"),
    "wren-small": Price("0.10", "0.40"),
}  # nobody knows what the finch asks


def ask(model: str, prompt: str) -> str:
    """One request to a model: logged, counted as soon as it is answered, and put off when the model is busy."""
    request = {"model": model, "prompt": prompt}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('MODELS_KEY', '')}"}
    blocking.log_request({"headers": headers, "body": request})
    began = time.monotonic()
    try:
        with urlopen(Request(os.environ["MODELS_URL"], json.dumps(request).encode(), headers), timeout=60) as answer:
            said = json.load(answer)
    except HTTPError as refused:
        if refused.code == 429:  # too many requests: later, and no attempt is spent
            raise Snooze(float(refused.headers["Retry-After"])) from None
        raise
    blocking.log_response(said)
    blocking.record_usage(
        model,
        said["usage"]["input_tokens"],
        said["usage"]["output_tokens"],
        cached_tokens=said["usage"]["cached_tokens"],
        latency=time.monotonic() - began,
    )
    text: str = said["text"]
    return text


@job(max_attempts=2, backoff=0.1)
def assess(paper: str, workflow_model: str = "wren-small") -> str:
    """What one model thinks of the paper."""
    return ask(workflow_model, f"Review this paper: {paper}")


@job(max_attempts=2, backoff=0.1)
def put_together(workflow_model: str = "wren-small") -> str:
    """One review of all there are. With none it is cancelled: there is nothing to put together."""
    reviews = results.get_model_results("assess", at_least=1)
    listed = "\n".join(f"{model} says: {review}" for model, review in reviews.items())
    return ask(workflow_model, f"Put these {len(reviews)} reviews together:\n{listed}")


def review(paper: str, models: list[str]) -> Workflow:
    """Each model by itself, all at once, and then one for all of them."""
    flow = Workflow("review", models={"assess_synthesis": "owl-large"}, debug=True)
    flow.fan_out_models("assess", assess.new(paper), models, synthesize=put_together.new(), partial=True)
    return flow


async def run(app: Tenuto) -> None:
    """One review from its beginning to its bill."""
    async with app:
        flow = await app.enqueue(review(PAPER, [*MODELS, "crow-away"]))
        status = await app.workflow(flow.id).wait(timeout=60)
        print(await app.workflow(flow.id).result("assess_synthesis"))
        print(f"without: {', '.join(step.name for step in status.steps if step.error and not step.is_group)}")
        costs = await app.costs(by="model", workflow=flow.id)
        for row in costs.rows:
            print(f"  {row.model}: {row.requests} asked, {row.output_tokens} tokens said, costs {told(row.cost)}")
        print(f"in all {told(costs.total.cost)}; what is known of it: {costs.total.known}")
        asked = await app.workflow(flow.id).debug("assess/owl-large", attempt=1)
        print(f"logged: {', '.join(entry.kind for entry in asked)}; {asked[0].content['headers']['Authorization']}")


def told(cost: Decimal | None) -> str:
    """None is no zero: a model of these has no price."""
    return "unknown" if cost is None else str(cost)


# ── the fake server ───────────────────────────────────────────────────────────────────────────────


BUSY = {"wren-small"}  # until they have been asked once


class FakeModels(BaseHTTPRequestHandler):
    """Answers any prompt with how long it is. One model is away, and another too busy at first."""

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, words = asked["model"], len(asked["prompt"].split())
        if model == "crow-away":
            self.reply(503, {"error": "away"})
        elif model in BUSY:
            BUSY.discard(model)
            self.reply(429, {"error": "busy"}, {"Retry-After": "0.2"})
        else:
            used = {"input_tokens": words, "output_tokens": 5, "cached_tokens": 2}
            self.reply(200, {"text": f"{model} read {words} words", "usage": used})

    def reply(self, code: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        body = json.dumps(document).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@contextmanager
def fake_models() -> Iterator[str]:
    """A server of models, at a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeModels)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description="A paper reviewed by several models.")
    parser.add_argument("--url", default=os.environ.get("TENUTO_URL", "sqlite:///review.db"), help="(%(default)s)")
    parser.add_argument("--models", metavar="URL", help="where the models are; else a fake server is started")
    asked = parser.parse_args()
    app = Tenuto(asked.url, queues={"default": 5}, pricing=PRICING, debugging=Debugging(size=20_000))
    if asked.models:
        os.environ["MODELS_URL"] = asked.models
        asyncio.run(run(app))
        return
    with fake_models() as url:
        os.environ["MODELS_URL"] = url
        asyncio.run(run(app))


if __name__ == "__main__":
    main()
