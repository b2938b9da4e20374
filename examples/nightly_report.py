"""A report that is made every night at half past two in Berlin, also on the nights on which clocks are turned.

    python examples/nightly_report.py                     shows when it is due, and makes one now
    python examples/nightly_report.py --work              works until Ctrl-C; start it twice, and each night has one
    tenuto --url sqlite:///nightly.db cron list           how it stands; also pause, resume, run, next
    tenuto --url sqlite:///nightly.db jobs show ID        a report, as it was made

The night it is about is the job's own `scheduled_at`, and not the time at which it happens to run: a report that was
missed, because nothing ran at half past two, is made up for within six hours, and is still about its night.
"""

import argparse
import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tenuto import Job, Tenuto, current_job, job

BERLIN = ZoneInfo("Europe/Berlin")
KINDS = ("books", "music", "tea")


@job(name="nightly_report", cron="30 2 * * *", timezone="Europe/Berlin", catch_up=timedelta(hours=6), recorded=True)
async def nightly_report(days: int = 1) -> str:
    """Add up what was sold in the days before the night the job belongs to."""
    due = current_job().scheduled_at or datetime.now(UTC)
    until = due.astimezone(BERLIN).date()
    sold = Counter[str]()
    for nth in range(1, days + 1):
        sold.update(sold_on((until - timedelta(days=nth)).toordinal()))
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(sold.items()))
    return f"sold in {days} day{'s' * (days > 1)} before {until}: {told}"


def sold_on(day: int) -> dict[str, int]:
    """The shop's books, which this example does not keep: some figure for each kind."""
    return {kind: (day * (nth + 7)) % 50 for nth, kind in enumerate(KINDS)}


async def show(app: Tenuto) -> None:
    """When it is due, and one report now."""
    async with app:
        for entry in await app.cron.list():
            print(f"{entry.name}: {entry.expression} in {entry.timezone}")
            for minute in await app.cron.next(entry.name, 2):
                print(f"  {minute:%Y-%m-%d %H:%M} UTC, when clocks in Berlin show {minute.astimezone(BERLIN):%H:%M}")
        print("and now, because somebody asks for it:")
        before = await newest(app)
        await app.cron.run("weekly_report")
        print(f"  {await app.recorded(await after(app, before))}")


async def newest(app: Tenuto) -> Job | None:
    """The last report that was made. Each is kept on its job (`recorded`), for as long as that is (`keep_jobs`)."""
    made = await app.find(worker="nightly_report", state="completed", limit=1)
    return made[0] if made else None


async def after(app: Tenuto, before: Job | None) -> Job:
    """The first report that is made after that one."""
    while True:
        made = await newest(app)
        if made is not None and made != before:
            return made
        await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description="A report for each night.")
    parser.add_argument("--url", default=os.environ.get("TENUTO_URL", "sqlite:///nightly.db"), help="(%(default)s)")
    parser.add_argument("--work", action="store_true", help="work until Ctrl-C")
    asked = parser.parse_args()
    app = Tenuto(asked.url, queues={"default": 5})
    app.cron.add("weekly_report", "0 7 * * MON", nightly_report.new(days=7), timezone="Europe/Berlin")
    asyncio.run(app.work() if asked.work else show(app))


if __name__ == "__main__":
    main()
