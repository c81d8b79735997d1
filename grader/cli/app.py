"""The commands and their options. What they do is in the library; what they print is in `output`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from grader.cli import operating

app = typer.Typer(
    name="grader",
    help="Grades free-text answers to open questions: offline, the same every time, with the words behind every point.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
questions_app = typer.Typer(help="The questions of a bank.", invoke_without_command=True)
bank_app = typer.Typer(help="Tools for authors of question banks.", no_args_is_help=True)
app.add_typer(questions_app, name="questions")
app.add_typer(bank_app, name="bank")
app.add_typer(operating.keys_app, name="keys")
app.add_typer(operating.database_app, name="database")
app.command("regrade")(operating.regrade)

BankOption = Annotated[
    str | None,
    typer.Option(
        "--bank",
        help="Folder of a question bank, or `pytorch` for the one that ships.  [default: that]",
        show_default=False,
    ),
]
BanksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bank",
        help="Folder of a question bank, or `pytorch` for the one that ships; may be repeated.  [default: that]",
        show_default=False,
    ),
]
EncoderOption = Annotated[
    str, typer.Option("--encoder", help="`embedded`, or a sentence-transformers model by name or local path.")
]
JudgeOption = Annotated[
    Literal["off", "auto", "required"] | None,
    typer.Option(
        "--judge",
        help="off, auto or required: whether the language model of GRADER_LLM_* settles what is uncertain. A row's own "
        "`judge` wins. Without the option: GRADER_JUDGE, else auto where a model is configured.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON even in a terminal (piped output is JSON anyway).")]


class Benchmark(StrEnum):
    """What `grader benchmark` can measure."""

    quality = "quality"
    speed = "speed"


def _version(wanted: bool) -> None:
    if wanted:
        from grader import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command()
def grade(
    question_id: Annotated[str | None, typer.Argument(help="Id of a question (`grader questions list`).")] = None,
    file: Annotated[str | None, typer.Argument(help="File with the answer; `-` or nothing: standard input.")] = None,
    json: JsonOption = False,
    candidate: Annotated[
        bool, typer.Option("--candidate", help="The candidate's view: no criterion statements.")
    ] = False,
    input: Annotated[Path | None, typer.Option("--input", help="Many answers: .jsonl, .csv or .parquet.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where their grades go; an existing file is resumed.")
    ] = None,
    bank: BanksOption = None,
    encoder: EncoderOption = "embedded",
    device: DeviceOption = "auto",
    judge: JudgeOption = None,
) -> None:
    """Grade one answer (QUESTION_ID [FILE]) or many (--input, --output)."""
    from grader.cli import grading

    if input is not None or output is not None:
        if input is None or output is None or question_id is not None:
            raise typer.BadParameter(
                "give --input and --output together, and no QUESTION_ID; each row names its question"
            )
        raise typer.Exit(grading.grade_many(input, output, bank or [], encoder, device, judge))
    if question_id is None:
        raise typer.BadParameter("which question? Give its id (`grader questions list`), or --input and --output")
    raise typer.Exit(
        grading.grade_one(question_id, file, bank or [], encoder, device, judge, as_json=json, candidate=candidate)
    )


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.  [default: 8000]", show_default=False)] = None,
    bank: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of a question bank, or `pytorch` for the one that ships; may be repeated.  "
            "[default: GRADER_BANK, else the one that ships]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds the model.")] = 1,
) -> None:
    """Start the service and the web form. Other settings come from GRADER_* variables (docs/settings.md)."""
    from api.server import run

    run(host=host, port=port, banks=bank, workers=workers)


@app.command()
def train(
    path: Annotated[Path, typer.Argument(help="Folder of the bank.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with statements/ and answers/ (docs/training.md).")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="Also learn from the answers set aside for the calibration.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Teach the grader a bank: fit heads for its criteria and write them beside it (heads.safetensors)."""
    from grader.cli import authoring

    raise typer.Exit(authoring.train(path, data, device, use_all=all))


@app.command()
def calibrate(
    graded: Annotated[
        Path, typer.Argument(help="Answers with `question_id`, `answer`, `score`: .csv, .jsonl or .parquet.")
    ],
    bank: BankOption = None,
    out_of: Annotated[float, typer.Option("--out-of", min=1e-6, help="The highest score your graders give.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would gain, write nothing.")] = False,
    encoder: EncoderOption = "embedded",
    device: DeviceOption = "auto",
) -> None:
    """Fit the point scale of a bank to 20 or more answers that your own graders have scored (calibration.json)."""
    from grader.cli import calibrating

    raise typer.Exit(calibrating.run(graded, bank, encoder, device, out_of=out_of, dry_run=dry_run))


@app.command()
def benchmark(
    what: Annotated[Benchmark, typer.Argument(help="Which figures.")] = Benchmark.quality,
    data: Annotated[
        Path | None, typer.Option("--data", help="quality: folder of the public sets (docs/quality.md).")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="quality: write the card to this file.")] = None,
    question: Annotated[
        list[str] | None, typer.Option("--question", help="quality: only this question of the bank; may be repeated.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", help="quality: where features are kept.  [default: the user's cache]", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="quality: the figures that have a goal, as JSON.")] = False,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="speed: how many answers are timed.")] = 60,
    encoder: Annotated[str, typer.Option("--encoder", help="quality: as for `grader grade`.")] = "embedded",
    device: DeviceOption = "auto",
) -> None:
    """Measure how well it grades (the quality card), or how fast. Needs a source checkout."""
    from grader.cli import benchmarking

    if what is Benchmark.speed:
        raise typer.Exit(benchmarking.speed(rounds, device))
    raise typer.Exit(benchmarking.quality(data, output, cache, encoder, device, question or [], as_json=json))


@questions_app.callback()
def _questions(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        questions_list()


@questions_app.command("list")
def questions_list(bank: BanksOption = None, json: JsonOption = False) -> None:
    """All questions with their ids."""
    from grader.bank import load_banks
    from grader.cli import output

    output.show_questions(load_banks(bank or []), as_json=output.wants_json(json))


@questions_app.command("show")
def questions_show(question_id: str, bank: BanksOption = None, json: JsonOption = False) -> None:
    """One question with its rubric and reference answers."""
    from grader.bank import bank_of, load_banks
    from grader.cli import output

    found = bank_of(load_banks(bank or []), question_id)
    output.show_question(found.question(question_id), as_json=output.wants_json(json))


@bank_app.command("check")
def bank_check(path: Annotated[Path, typer.Argument(help="Folder of the bank.")]) -> None:
    """Read a bank and list everything that is wrong with it, by file, line and field."""
    from grader.cli import authoring

    raise typer.Exit(authoring.check(path))


@bank_app.command("test")
def bank_test(
    path: Annotated[Path, typer.Argument(help="Folder of the bank.")],
    json: JsonOption = False,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Accept how the samples do now as what must not get worse.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every sample that misses.")] = False,
    encoder: EncoderOption = "embedded",
    device: DeviceOption = "auto",
) -> None:
    """Grade the bank's own samples and compare with what they expect; fails when one that held no longer does."""
    from grader.cli import authoring

    raise typer.Exit(
        authoring.test(path, encoder, device, as_json=json, update_baseline=update_baseline, verbose=verbose)
    )


@bank_app.command("draft")
def bank_draft(
    prompt: Annotated[str, typer.Argument(help="The question, in quotes.")],
    reference: Annotated[Path | None, typer.Option("--reference", help="File with a model answer.")] = None,
    into: Annotated[Path, typer.Option("--into", help="Folder of the bank; made when it is not there.")] = Path("bank"),
    question_id: Annotated[
        str | None, typer.Option("--id", help="Id of the question.  [default: from its words]", show_default=False)
    ] = None,
) -> None:
    """Draft a question: criteria, wrong versions, misconceptions, samples. Uses the model of GRADER_LLM_*, if any."""
    from grader.cli import authoring

    raise typer.Exit(authoring.draft(prompt, reference, into, question_id))


@bank_app.command("schema")
def bank_schema() -> None:
    """Print the JSON schema of a question file, for editors."""
    import json

    from grader.bank import bank_json_schema

    typer.echo(json.dumps(bank_json_schema(), indent=2, ensure_ascii=False))
