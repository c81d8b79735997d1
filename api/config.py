"""Settings of the service; the only module that reads the environment.

Every setting can be given as `GRADER_<NAME>`; docs/settings.md is generated from here (`python -m api.docs settings`).
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from grader.assist import JudgeMode, Policy
from grader.judges.openai_compatible import LOOPBACK
from grader.llm import Backend, LlmOptions
from grader.schema import MAX_ANSWER_CHARS


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


# Comma-separated in the environment; `*` is not taken: a page of any site could then use a key it came by.
Origins = Annotated[
    tuple[Annotated[str, Field(pattern=r"^https?://[^/*\s]+$")], ...], NoDecode, BeforeValidator(_listed)
]


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


def _folders(value: object) -> object:
    """Paths as the system lists them (as in PATH); kept as text, because `pytorch` is a word and `./pytorch` a folder."""
    found = value.split(os.pathsep) if isinstance(value, str) else [value] if isinstance(value, Path) else value
    if not isinstance(found, list | tuple):
        return found
    return tuple(str(one).strip() for one in found if str(one).strip())


Folders = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_folders)]


class Settings(BaseSettings):
    """What an operator can set; each with a default that works on a laptop."""

    model_config = SettingsConfigDict(env_prefix="GRADER_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    database: str | None = Field(
        None,
        repr=False,  # may hold a password
        description="`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; empty: a file in the user's data folder.",
    )
    retention_days: int = Field(
        0, ge=0, le=36_500, description="Answers older than this are deleted with their grades; 0: kept until erased."
    )
    bank: Folders = Field(
        (),
        description="Folders of question banks, with `:` between them (Windows: `;`); the word `pytorch` is the one that "
        "ships. Empty: that one alone.",
    )
    encoder: str = Field("embedded", description="`embedded`, or a sentence-transformers model by name or local path.")
    device: str = Field("auto", description="`auto` (cuda, then mps, then cpu), `cpu`, `cuda`, `cuda:N` or `mps`.")
    cache_folder: Path | None = Field(None, description="Where embeddings are kept; empty: the user's cache folder.")
    max_answer_chars: int = Field(
        MAX_ANSWER_CHARS, ge=1, le=200_000, description="Longest answer that is graded, in characters."
    )
    judge: JudgeMode | None = Field(
        None,
        description="Whether a language model settles what is uncertain: `off`, `auto`, or `required` (503 without it); "
        "empty: `auto` where one is configured, else `off`. A request can choose with its field `judge`.",
    )
    llm_backend: Backend = Field("none", description="`openai` (any compatible endpoint), `transformers` or `none`.")
    llm_model: str = Field(
        "", description="Its name at the endpoint; for transformers a name, a folder or a .gguf file."
    )
    llm_base_url: str = Field("", description="Base URL of the endpoint, such as `http://127.0.0.1:11434/v1`.")
    llm_allowed_hosts: Listed = Field(
        LOOPBACK, description="Hosts that answers may be sent to, comma-separated; the base URL must have one of them."
    )
    llm_api_key: SecretStr = Field(SecretStr(""), description="Key for the endpoint, where it wants one.")
    llm_api_key_file: Path | None = Field(None, description="File that holds the key instead.")
    llm_timeout: float = Field(
        20,
        gt=0,
        le=600,
        description="Seconds for all the model does for one grade; then the offline grade is returned. For the service below "
        "`GRADER_REQUEST_SECONDS`.",
    )
    llm_concurrency: int = Field(4, ge=1, le=256, description="Calls of the model at a time.")
    llm_bound: float = Field(15, ge=0, le=100, description="Most points by which the model may move a score.")
    llm_feedback: bool = Field(False, description="Whether the model also words the feedback.")
    llm_cache: Path | None = Field(None, description="File of its judgements; empty: in the user's cache folder.")
    llm_price_input: float = Field(0, ge=0, description="Price of a million tokens in, for the cost of each grade.")
    llm_price_output: float = Field(0, ge=0, description="Price of a million tokens out.")
    max_body_bytes: int = Field(262_144, ge=1024, description="Largest request body, in bytes; larger ones get 413.")
    max_upload_bytes: int = Field(
        16_777_216, ge=1024, description="Largest body of `POST /v1/grades/batch`, in bytes; larger ones get 413."
    )
    max_job_rows: int = Field(10_000, ge=65, description="Most answers in one batch.")
    max_waiting_rows: int = Field(
        50_000, ge=1, description="Most answers of batches that may wait to be graded; a batch on top of them gets 429."
    )
    max_waiting_rows_per_key: int = Field(20_000, ge=1, description="The same for the batches of one API key.")
    job_lease_seconds: float = Field(
        30,
        ge=1,
        description="How soon after a crash another process, or the same one started again, goes on with a job.",
    )
    rate_per_address: int = Field(
        600, ge=0, description="Requests a minute from one address (IPv6: one /64); 0: any number. Never for loopback."
    )
    rate_per_key: int = Field(600, ge=0, description="Requests a minute with one API key; 0: any number.")
    grading_slots: int = Field(2, ge=1, le=256, description="Answers that are graded at once by one process.")
    queue_length: int = Field(32, ge=0, description="Answers that may wait to be graded; more get 429 at once.")
    queue_seconds: float = Field(20, gt=0, description="Longest wait for a place, in seconds; then 429.")
    idle_seconds: int = Field(
        10, ge=1, description="Longest a connection may be silent before a request, or take to send one's headers."
    )
    body_seconds: float = Field(20, gt=0, description="Longest a client may take to send a body; then 408.")
    request_seconds: float = Field(
        60, gt=0, description="Longest until a response begins (then 503), and longest a client may not take any of it."
    )
    drain_seconds: float = Field(
        0, ge=0, description="After SIGTERM, still serve for so long while /readyz says 503: set it behind a balancer."
    )
    stop_seconds: int = Field(30, ge=1, description="Longest that requests in work may take to end after SIGTERM.")
    cors_origins: Origins = Field(
        (),
        description="Origins whose pages may use the API, such as `https://a.example,https://b.example`; empty: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` a line, `console` in colours; `auto`: console on a terminal."
    )
    metrics_public: bool = Field(
        False, description="Whether `/metrics` may be read without a key: for a network that only Prometheus can reach."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Where OpenTelemetry traces go (OTLP over HTTP), such as `http://collector:4318`; empty: nowhere.",
    )

    def llm(self) -> LlmOptions:
        """The settings of the language model as the library takes them."""
        return LlmOptions(
            backend=self.llm_backend,
            model=self.llm_model,
            base_url=self.llm_base_url,
            api_key=self.llm_api_key.get_secret_value(),
            api_key_file=self.llm_api_key_file,
            allowed_hosts=self.llm_allowed_hosts,
            device=self.device,
            memory_file=self.llm_cache,
            concurrency=self.llm_concurrency,
            prices=(self.llm_price_input, self.llm_price_output),
            policy=Policy(
                mode=self.judge or "auto",
                bound=self.llm_bound,
                seconds=self.llm_timeout,
                writes_feedback=self.llm_feedback,
            ),
        )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_settings(**given: object) -> Settings:
    """The settings of the environment, where nothing else is `given`; what is wrong with them ends the command, in one line."""
    try:
        return Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise SystemExit(f"Error: a setting is wrong ({'; '.join(wrong)}); docs/settings.md lists them.") from None


def service_settings(**given: object) -> Settings:
    """The same for the service, where a language model has to give up before the request does: nobody would see the grade."""
    settings = read_settings(**given)
    if settings.llm_backend != "none" and settings.llm_timeout >= settings.request_seconds:
        raise SystemExit(
            f"Error: GRADER_LLM_TIMEOUT ({settings.llm_timeout:g} s) has to be below GRADER_REQUEST_SECONDS "
            f"({settings.request_seconds:g} s), or a slow language model means 503 instead of the offline grade."
        )
    return settings
