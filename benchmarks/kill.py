"""`kill -9` at random moments, under load: is every acknowledged grade there, does every job end, is anything twice?

    python -m benchmarks.kill --kills 200 --database sqlite        (or postgresql, or both; a private one is started)

A real `grader serve` process, with the hashing encoder so that it is back within a second or two, is killed and started again.
Meanwhile clients send answers with idempotency keys, and repeat those that were not answered; one client sends jobs. At the
end the database is compared with what the clients were told. Exit status 1 when anything is missing, twice, or unfinished.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import func, select

from api.store import Store
from api.store.tables import answers, grades, idempotency, job_rows, jobs
from benchmarks.postgres import Cluster

CLIENTS = 6
ROWS_PER_JOB = 80  # more than are graded at once, so that the service makes a job of them
START_LIMIT = 300.0
ANSWERS = (
    "The gas in the air throws the light of the sun in all directions.",
    "Blue light is scattered far more than red light, so it comes from everywhere.",
    "The sky mirrors the ocean.",
)
# A bank of one question, so that the service is back at once.
BANK = "id: sky\ntitle: The sky\nversion: 1.0.0\n"
QUESTION = """\
number: 1
id: sky
prompt: Why is the sky blue?
kind: concept
level: junior
tags: [light]
sources: [https://example.org/sky]
reference_answers:
  - Air molecules scatter sunlight. Blue light is scattered far more than red light.
criteria:
  - id: scattering
    statement: Air molecules scatter sunlight.
    points: 40
    exemplars: [The gas in the air throws the light of the sun in all directions.]
    contradictions: [Air molecules absorb sunlight.]
    hint: What does the air do with the light?
  - id: wavelength
    statement: Blue light is scattered far more than red light.
    points: 60
    exemplars: [Short waves are bounced around much more than long ones.]
    contradictions: [Red light is scattered far more than blue light.]
    hint: Which colour is affected most?
"""


@dataclass
class Told:
    """What the clients were told; filled by many threads, each with its own keys."""

    grades: dict[str, str] = field(default_factory=dict)  # idempotency key -> grade id
    jobs: dict[str, str] = field(default_factory=dict)  # idempotency key -> job id
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Service:
    """A `grader serve` that is killed and started again on the same port."""

    def __init__(self, url: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        bank = folder / "bank"
        bank.mkdir()
        (bank / "bank.yaml").write_text(BANK, encoding="utf-8")
        (bank / "01-sky.yaml").write_text(QUESTION, encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRADER_")}  # noqa: TID251
        self.environment = kept | {
            "GRADER_DATABASE": url,
            "GRADER_BANK": str(bank),
            "GRADER_ENCODER": "hashing",
            "GRADER_CACHE_FOLDER": str(folder / "cache"),
            "GRADER_LOG_LEVEL": "error",
            "GRADER_RATE_PER_KEY": "0",
            "OMP_NUM_THREADS": "1",
        }
        self.log = (folder / "service.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready."""
        words = [sys.executable, "-c", "from grader.cli import main; main()", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(words, env=self.environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended by itself with {self.process.returncode}; see its log")
            time.sleep(0.05)
        raise TimeoutError("the service was not ready in time")

    def kill(self) -> None:
        """SIGKILL: nothing of it gets a chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Ends it and its log."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def repeated(
    service: Service, told: Told, stop: threading.Event, path: str, body: object, key: str
) -> httpx.Response | None:
    """Sends a request again and again until it is answered; None when the run ended before."""
    while not stop.is_set():
        try:
            response = httpx.post(f"{service.address}{path}", json=body, headers={"idempotency-key": key}, timeout=30)
        except httpx.TransportError:
            told.statuses["no answer"] += 1
            time.sleep(0.2)
            continue
        told.statuses[str(response.status_code)] += 1
        if response.status_code in {200, 202}:
            return response
        if response.status_code not in {409, 429, 503}:
            told.wrong.append(f"{response.status_code}: {response.text[:200]}")
        time.sleep(0.05)
    return None


def send_answers(service: Service, told: Told, stop: threading.Event, seed: int) -> None:
    """One client: answer after answer, some of them sent twice though they were answered."""
    pick = random.Random(seed)
    while not stop.is_set():
        key = str(uuid.UUID(int=pick.getrandbits(128)))
        body = {"question_id": "sky", "answer": pick.choice(ANSWERS), "candidate": f"c{seed}"}
        response = repeated(service, told, stop, "/v1/grades", body, key)
        if response is None:
            return
        told.grades[key] = response.json()["id"]
        if pick.random() < 0.2:
            again = repeated(service, told, stop, "/v1/grades", body, key)
            if again is not None and again.json()["id"] != told.grades[key]:
                told.wrong.append(f"key {key} got two grades")


def send_jobs(service: Service, told: Told, stop: threading.Event, seed: int) -> None:
    """One client: a job whenever the last one is done."""
    pick = random.Random(seed)
    while not stop.is_set():
        rows = [{"id": f"row {n}", "question_id": "sky", "answer": pick.choice(ANSWERS)} for n in range(ROWS_PER_JOB)]
        key = str(uuid.UUID(int=pick.getrandbits(128)))
        response = repeated(service, told, stop, "/v1/grades/batch", {"answers": rows}, key)
        if response is None:
            return
        told.jobs[key] = response.json()["id"]
        while not stop.is_set() and not is_done(service, told.jobs[key]):
            time.sleep(0.2)


def is_done(service: Service, job_id: str) -> bool:
    """Whether a job has ended; False when nobody answers."""
    with contextlib.suppress(httpx.TransportError):
        response = httpx.get(f"{service.address}/v1/jobs/{job_id}", timeout=30)
        return response.status_code == 200 and response.json()["state"] == "done"
    return False


def verdict(store: Store, told: Told) -> list[str]:
    """What is wrong with the database, compared with what clients were told."""
    wrong = list(told.wrong)
    with store.read() as tx:
        kept = {row.id for row in tx.execute(select(grades.c.id))}
        settled = {row.key: row.grade_id for row in tx.execute(select(idempotency.c.key, idempotency.c.grade_id))}
        rows = Counter(row.state for row in tx.execute(select(job_rows.c.state)))
        in_jobs = tx.execute(select(func.count()).where(job_rows.c.grade_id.is_not(None))).scalar_one()
        job_ids = {row.id for row in tx.execute(select(jobs.c.id))}
        sent = tx.execute(select(func.count()).select_from(answers)).scalar_one()
    wrong += [f"grade {grade} was acknowledged and is not there" for grade in told.grades.values() if grade not in kept]
    wrong += [f"key {key} is settled with another grade" for key, one in told.grades.items() if settled.get(key) != one]
    wrong += [f"job {job} was acknowledged and is not there" for job in told.jobs.values() if job not in job_ids]
    if set(rows) - {"graded"}:
        wrong.append(f"rows of jobs are not all graded: {dict(rows)}")
    single = sum(1 for grade in settled.values() if grade is not None)
    if len(kept) != sent or sent != single + in_jobs:
        wrong.append(f"{len(kept)} grades of {sent} answers, but {single} single ones and {in_jobs} rows were settled")
    return wrong


def run(url: str, kills: int, seed: int, longest: float) -> dict[str, object]:
    """One database: the figures, and what was wrong."""
    pick, told, stop = random.Random(seed), Told(), threading.Event()
    begun, done = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        service = Service(url, Path(folder))
        try:
            service.start()
            threads = [threading.Thread(target=send_answers, args=(service, told, stop, n)) for n in range(CLIENTS)]
            threads.append(threading.Thread(target=send_jobs, args=(service, told, stop, 1000)))
            for thread in threads:
                thread.start()
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: judge by the kills so far
                while done < kills:
                    time.sleep(pick.uniform(0, longest))
                    service.kill()
                    done += 1
                    service.start()
                    if done % 20 == 0:
                        print(f"{done} kills, {len(told.grades)} grades, {len(told.jobs)} jobs", file=sys.stderr)
            if service.process is None or service.process.poll() is not None:
                service.start()
            stop.set()
            for thread in threads:
                thread.join()
            store = Store.open(url)
            _wait_for_jobs(store)
            wrong = verdict(store, told)
            store.close()
        finally:
            stop.set()
            service.close()
    return {
        "kills": done,
        "seconds": round(time.monotonic() - begun),
        "acknowledged_grades": len(told.grades),
        "jobs": len(told.jobs),
        "job_rows": len(told.jobs) * ROWS_PER_JOB,
        "responses": dict(told.statuses),
        "wrong": wrong,
    }


def _wait_for_jobs(store: Store) -> None:
    """Until no row waits any more, those of jobs included whose 202 was lost in a kill."""
    waiting = select(func.count()).select_from(job_rows).where(job_rows.c.state == "pending")
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        with store.read() as tx:
            if tx.execute(waiting).scalar_one() == 0:
                return
        time.sleep(0.5)


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """The address of a new database of a kind."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/grades.db"
        return
    cluster = Cluster(durable=True)
    try:
        with cluster.database() as url:
            yield url
    finally:
        cluster.close()


def main() -> None:
    """Prints one JSON line a database."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=1.0, help="seconds that the service lives at most, ready")
    options = parser.parse_args()
    failed = False
    for kind in ("sqlite", "postgresql") if options.database == "both" else (options.database,):
        with database(kind) as url:
            found = run(url, options.kills, options.seed, options.longest)
        print(json.dumps({"database": kind, **found}), flush=True)
        failed = failed or bool(found["wrong"])
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
