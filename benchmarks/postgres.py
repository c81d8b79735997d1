"""A private PostgreSQL for tests and benchmarks: its own folder, a free loopback port, gone afterwards.

PostgreSQL refuses to run as root, so root starts it as the system user that its package made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

INSTALL = "PostgreSQL is not installed (`make services` installs it; Debian: apt-get install postgresql)"
USERS = ("postgres", "nobody")


class Cluster:
    """A running server; `stop` and `start` are there for tests of a restart."""

    def __init__(self, *, durable: bool = False) -> None:
        """Starts one; raises FileNotFoundError with what to install when there is none on this machine."""
        self.programs = _programs()
        self.user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="grader-pg-"))
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        self.data = self.folder / "data"
        self.port = _free_port()
        self._run("initdb", "--auth=trust", "--username=grader", "--encoding=UTF8", "--no-sync", "--pgdata", self.data)
        self.options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c max_connections=200"
        if not durable:
            self.options += " -c fsync=off"  # what the system has not written is lost with the system only
        self.start()

    def start(self) -> None:
        """Returns when connections are taken."""
        log = self.folder / "log"
        self._run("pg_ctl", "--pgdata", self.data, "-l", log, "-w", "-t", "60", "-o", self.options, "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is what a crash looks like to clients; `fast` ends their connections in order."""
        self._run("pg_ctl", "--pgdata", self.data, "-w", "-m", how, "stop")

    def close(self) -> None:
        """Stops the server and removes its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):  # a test has stopped it already
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, dropped afterwards."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield f"postgresql://grader@127.0.0.1:{self.port}/{name}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def _dsn(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=grader dbname={name}"

    def _run(self, program: str, *arguments: object) -> None:
        words = [str(self.programs / program), *map(str, arguments)]
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        # pg_ctl leaves the server with its own outputs: a pipe would keep us waiting for the server's end.
        with (self.folder / "commands").open("ab") as out:
            subprocess.run(
                words,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
                cwd=self.folder,
                user=self.user,
                extra_groups=[] if self.user else None,
            )


def _programs() -> Path:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not debian:
        raise FileNotFoundError(INSTALL)
    return debian[-1].parent


def _user() -> str | None:
    """Who runs the server: this user, or for root somebody else."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in names)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
