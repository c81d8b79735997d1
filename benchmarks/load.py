"""Twice what the service can serve: `python -m benchmarks.load [--minutes 5] [--clients 64]`.

Starts the real command on a free port with an empty SQLite file, grades a set of answers one after the other, then sends twice
what is served from many clients at once. It fails unless there was nothing but 200 and 429, each 429 with Retry-After, every
grade was the one of the quiet run, and the service's memory in the last quarter is at most 5 % above the second's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from grader import load_bank

ANSWERS = 48  # different ones; each is graded again and again
PAUSE = 0.05  # seconds between looks whether it is time to ask again
FLAT = 1.05  # memory at the end, as a share of what it was when everything had been used once
# Of a stored grade: what names the record, not what the grader says.
OF_THE_RECORD = ("id", "record")


@dataclass
class Tally:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of those with a grade
    other_grades: int = 0
    without_retry_after: int = 0
    memory: list[float] = field(default_factory=list)  # MB, one a second


@contextlib.contextmanager
def service(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Address and process id of a service that is ready."""
    import os

    environment = dict(os.environ) | {  # noqa: TID251  # a child's environment is made here
        "GRADER_DATABASE": f"sqlite:///{folder}/grades.db",
        "GRADER_ENCODER": arguments.encoder,
        "GRADER_QUEUE_LENGTH": str(arguments.queue),
        "GRADER_LOG_LEVEL": "warning",
        "OMP_WAIT_POLICY": "passive",
    }
    command = [sys.executable, "-c", "from grader.cli import main; main()", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+\d", process.stdout.readline().decode())
        if found is None:
            raise SystemExit("The service did not start; its message is above.")
        _until_ready(found.group(), arguments.start_limit)
        yield found.group(), process.pid
    finally:
        process.terminate()
        process.wait(60)


def _until_ready(address: str, limit: float) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz", timeout=30).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"The service was not ready within {limit:.0f} s.")


def bodies() -> list[dict[str, Any]]:
    """Requests from the samples of the bank that ships, long and short."""
    samples = [{"question_id": q.id, "answer": s.answer} for q in load_bank().questions for s in q.samples]
    return samples[:: max(1, len(samples) // ANSWERS)][:ANSWERS]


def said(response: httpx.Response) -> dict[str, Any]:
    """What the grader says, without what names the record."""
    return {name: value for name, value in response.json().items() if name not in OF_THE_RECORD}


def quiet(address: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The grade of each request, one after the other."""
    with httpx.Client(base_url=address, timeout=120) as client:
        return [said(client.post("/v1/grades", json=body).raise_for_status()) for body in requests]


async def overload(
    address: str, pid: int, requests: list[dict[str, Any]], grades: list[dict[str, Any]], seconds: float, clients: int
) -> Tally:
    """Sends twice what is served: a client asks again at once, and after a 429 when as much was served as refused."""
    tally, end = Tally(), time.monotonic() + seconds
    numbers = itertools.count()

    async def one() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            while time.monotonic() < end:
                number = next(numbers) % len(requests)
                begun = time.monotonic()
                response = await client.post("/v1/grades", json=requests[number])
                _note(tally, response, grades[number], time.monotonic() - begun)
                while (
                    response.status_code == 429 and tally.statuses[429] > tally.statuses[200] and time.monotonic() < end
                ):
                    await asyncio.sleep(PAUSE)

    async def watch() -> None:
        while time.monotonic() < end:
            tally.memory.append(resident(pid))
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(one() for _ in range(clients)))
    return tally


def _note(tally: Tally, response: httpx.Response, grade: dict[str, Any], seconds: float) -> None:
    tally.statuses[response.status_code] += 1
    if response.status_code == 200:
        tally.seconds.append(seconds)
        tally.other_grades += said(response) != grade
    elif response.status_code == 429:
        tally.without_retry_after += "retry-after" not in response.headers


def resident(pid: int) -> float:
    """Memory of a process in MB (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found.group(1)) / 1024 if found else 0.0


def report(tally: Tally, minutes: float, clients: int) -> bool:
    """Prints the figures; whether all is as it has to be."""
    quarter = max(1, len(tally.memory) // 4)
    before, after = (
        statistics.median(tally.memory[quarter : 2 * quarter] or tally.memory),
        statistics.median(tally.memory[-quarter:]),
    )
    cuts = statistics.quantiles(tally.seconds, n=100) if len(tally.seconds) > 1 else [0.0] * 99
    sent, served = sum(tally.statuses.values()), tally.statuses[200]
    print(f"{clients} clients, {minutes:g} minutes: {sent} sent, {served} served ({served / minutes / 60:.1f}/s)")
    print(f"statuses                  {dict(sorted(tally.statuses.items()))}")
    print(f"time of a grade           {cuts[49]:.2f} s median, {cuts[94]:.2f} s 95 %, {cuts[98]:.2f} s 99 %")
    print(f"grades unlike the quiet run's   {tally.other_grades}")
    print(f"memory, second and last quarter {before:.1f} MB, {after:.1f} MB ({after / before - 1:+.2%})")
    return (
        set(tally.statuses) == {200, 429}
        and not tally.other_grades
        and not tally.without_retry_after
        and after <= FLAT * before
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--queue", type=int, default=32, help="GRADER_QUEUE_LENGTH of the service")
    parser.add_argument("--encoder", default="embedded", help="`hashing` measures the service without the model")
    parser.add_argument("--start-limit", type=float, default=300.0, help="seconds the service may take to be ready")
    arguments = parser.parse_args()
    requests = bodies()
    with (
        tempfile.TemporaryDirectory(prefix="grader-load-") as folder,
        service(Path(folder), arguments) as (address, pid),
    ):
        grades = quiet(address, requests)
        tally = asyncio.run(overload(address, pid, requests, grades, 60 * arguments.minutes, arguments.clients))
    if not report(tally, arguments.minutes, arguments.clients):
        raise SystemExit("FAILED: see above.")


if __name__ == "__main__":
    main()
