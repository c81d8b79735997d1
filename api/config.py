"""Settings of the service; the only module that reads the environment.

Every setting can be given as `GRADER_<NAME>`; docs/settings.md is generated from here (`python -m api.docs settings`).
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from grader.schema import MAX_ANSWER_CHARS


class Settings(BaseSettings):
    """What an operator can set; each with a default that works on a laptop."""

    model_config = SettingsConfigDict(env_prefix="GRADER_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    bank: Path | None = Field(None, description="Folder of the question bank; empty: the one that ships.")
    encoder: str = Field("embedded", description="`embedded`, or a sentence-transformers model by name or local path.")
    device: str = Field("auto", description="`auto` (cuda, then mps, then cpu), `cpu`, `cuda`, `cuda:N` or `mps`.")
    cache_folder: Path | None = Field(None, description="Where embeddings are kept; empty: the user's cache folder.")
    max_answer_chars: int = Field(
        MAX_ANSWER_CHARS, ge=1, le=200_000, description="Longest answer that is graded, in characters."
    )
    max_body_bytes: int = Field(262_144, ge=1024, description="Largest request body, in bytes; larger ones get 413.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
