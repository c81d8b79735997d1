"""The operator's commands and their options: keys, database, regrade. What they do is in the modules of those names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from grader.assist import JudgeMode

keys_app = typer.Typer(help="API keys of the service.", no_args_is_help=True)
database_app = typer.Typer(
    help="The service's database: back up, restore, upgrade, export, erase.", no_args_is_help=True
)

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="sqlite:///FILE or postgresql://...  [default: GRADER_DATABASE, else a file in the user's data folder]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON even in a terminal (piped output is JSON anyway).")]
CandidateArgument = Annotated[str, typer.Argument(help="The reference that was sent with the answers.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer, as in cron.")]


@keys_app.command("create")
def keys_create(
    role: Annotated[
        Literal["candidate", "author", "reviewer", "admin"], typer.Option("--role", help="What the key may do.")
    ],
    name: Annotated[
        str, typer.Option("--name", help="Whose key it is; shown in lists and as author of reviews.")
    ] = "unnamed",
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="When it ends: 90d, 12h or a date.  [default: never]", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The key with its id and role as JSON.")] = False,
    database: DatabaseOption = None,
) -> None:
    """Make a key and print it: the only time it can be seen."""
    from grader.cli import keys
    from grader.cli.database import opened

    with opened(database, create=True) as store:
        keys.create(store, name, role, expires, as_json=json)


@keys_app.command("list")
def keys_list(json: JsonOption = False, database: DatabaseOption = None) -> None:
    """All keys: role, last use, expiry; never the keys themselves."""
    from grader.cli import keys, output
    from grader.cli.database import opened

    with opened(database) as store:
        keys.show(store, as_json=output.wants_json(json))


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key (`grader keys list`).")], database: DatabaseOption = None
) -> None:
    """End a key for good; it is refused from the next request on."""
    from grader.cli import keys
    from grader.cli.database import opened

    with opened(database) as store:
        keys.revoke(store, key_id)


@database_app.command("upgrade")
def database_upgrade(database: DatabaseOption = None) -> None:
    """Bring the database to this version. Make a backup before."""
    from grader.cli.database import upgrade

    upgrade(database)


@database_app.command("backup")
def database_backup(file: Annotated[Path, typer.Argument(help="A new file.")], database: DatabaseOption = None) -> None:
    """Write everything to one file; the service may run meanwhile."""
    from grader.cli.database import save

    save(database, file)


@database_app.command("restore")
def database_restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote, from either kind of database.")],
    database: DatabaseOption = None,
) -> None:
    """Read a backup into an empty database, all or nothing."""
    from grader.cli.database import load

    load(database, file)


@database_app.command("export")
def database_export(
    candidate: CandidateArgument,
    output: Annotated[
        Path | None, typer.Option("--output", help="A new file.  [default: standard output]", show_default=False)
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Print everything that is kept about one candidate, as JSON."""
    from grader.cli.database import export

    export(database, candidate, output)


@database_app.command("erase")
def database_erase(candidate: CandidateArgument, yes: YesOption = False, database: DatabaseOption = None) -> None:
    """Delete everything that is kept about one candidate, for good."""
    from grader.cli.database import erase, named

    if not yes:
        typer.confirm(f"Delete every answer and grade of {candidate!r} in {named(database)} for good?", abort=True)
    erase(database, candidate)


@database_app.command("retain")
def database_retain(
    days: Annotated[int, typer.Option("--days", min=1, max=36_500, help="Answers older than this are deleted.")],
    yes: YesOption = False,
    database: DatabaseOption = None,
) -> None:
    """Delete answers that are older than so many days, with their grades and finished jobs."""
    from grader.cli.database import named, retain

    if not yes:
        typer.confirm(f"Delete every answer in {named(database)} that is older than {days} days for good?", abort=True)
    retain(database, days)


@database_app.command("log")
def database_log(
    limit: Annotated[int, typer.Option(min=1, help="How many entries.")] = 100, database: DatabaseOption = None
) -> None:
    """Who did what and when, newest first, one JSON object a line."""
    from grader.cli.database import log

    log(database, limit)


def regrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the new grades; the old ones stay and can be read.")
    ] = False,
    question: Annotated[
        str | None, typer.Option("--question", help="Only answers to this question.", show_default=False)
    ] = None,
    bank: Annotated[
        list[str] | None,
        typer.Option(
            "--bank",
            help="Folder of a question bank to grade by, or `pytorch` for the one that ships; may be repeated.  "
            "[default: GRADER_BANK, else the one that ships]",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", help="`embedded`, or a sentence-transformers model by name or local path.")
    ] = "embedded",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: JsonOption = False,
    database: DatabaseOption = None,
) -> None:
    """Grade every stored answer again with these banks: who would get another grade, and why. People's overrides stand."""
    from api.config import read_settings
    from grader.cli import grading, output, regrading
    from grader.cli.database import opened

    if dry_run == write:
        raise typer.BadParameter("give either --dry-run or --write")
    with opened(database) as store:
        settings = read_settings()
        judge: JudgeMode | None = "auto" if settings.llm_backend != "none" else None
        grader = grading.load_library(bank or settings.bank, encoder, device, judge)
        raise typer.Exit(regrading.regrade(store, grader, question, write=write, as_json=output.wants_json(json)))
