"""Writes the generated documentation: `python -m api.docs` (and `--check` in the lint step).

`docs/openapi.json` from the routes, `docs/settings.md` from the settings, `docs/cli.md` from the commands,
`reference_answers/schema.json` from the schema of a question.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from api.app import create_app
from api.config import Settings
from grader.bank import bank_json_schema

ROOT = Path(__file__).resolve().parent.parent


def openapi() -> str:
    """The OpenAPI 3.1 document."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


def settings() -> str:
    """A table of all settings."""
    prefix = Settings.model_config.get("env_prefix", "")
    lines = [
        "# Settings of the service",
        "",
        "Given as environment variables. Generated from `api/config.py` by `python -m api.docs`; do not edit.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, (), PydanticUndefined) else f"`{field.default}`"
        lines.append(f"| `{prefix}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def cli() -> str:
    """Usage and options of every command, from the commands themselves."""
    from typer.main import get_command

    from grader.cli.app import app

    lines = ["# The command line", "", "Generated from `grader/cli/app.py` by `python -m api.docs`; do not edit.", ""]

    def add(command: Any, path: str) -> None:
        if hasattr(command, "commands"):
            for name in sorted(command.commands):
                add(command.commands[name], f"{path} {name}")
            return
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join([path, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments)])
        lines.extend([f"## `{usage}`", "", str(command.help or "").strip(), ""])
        lines.extend(f"- `{p.name.upper()}`: {p.help}" for p in arguments if getattr(p, "help", None))
        for option in options:
            meaning = re.sub(r"\s+", " ", str(option.help or "").replace("\\", ""))
            lines.append(f"- `{', '.join(option.opts)}`: {meaning}")
        lines.append("")

    add(get_command(app), "grader")
    return "\n".join(lines).rstrip() + "\n"


def schema() -> str:
    """JSON schema of a question file."""
    return json.dumps(bank_json_schema(), indent=1, ensure_ascii=False) + "\n"


GENERATED = {
    "docs/openapi.json": openapi,
    "docs/settings.md": settings,
    "docs/cli.md": cli,
    "reference_answers/schema.json": schema,
}


def stale() -> list[str]:
    """Files that are not what would be generated now."""
    return [
        name
        for name, make in GENERATED.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text(encoding="utf-8") != make()
    ]


def main() -> None:
    if "--check" in sys.argv[1:]:
        if found := stale():
            raise SystemExit(f"out of date: {', '.join(found)}; run `python -m api.docs`")
        return
    for name, make in GENERATED.items():
        (ROOT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
