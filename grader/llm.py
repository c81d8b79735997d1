"""From what an operator configures to an assistant that is ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from grader.assist import Assistant, JudgeMode, Policy
from grader.errors import JudgeError
from grader.judges.language import LanguageJudge, Memory, Remembering
from grader.judges.openai_compatible import LOOPBACK, Endpoint, OpenAICompatibleJudge
from grader.judges.transformers_llm import TransformersJudge

Backend = Literal["none", "openai", "transformers"]


@dataclass(frozen=True)
class LlmOptions:
    """How a language model is reached and what it may do; docs/llm-judges.md has recipes. Prices: per million tokens."""

    backend: Backend = "none"
    model: str = ""
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: Path | None = None
    allowed_hosts: tuple[str, ...] = LOOPBACK
    device: str = "auto"
    memory_file: Path | None = None
    concurrency: int = 4
    prices: tuple[float, float] = (0.0, 0.0)
    policy: Policy = field(default_factory=Policy)

    def key(self) -> str:
        """The API key, from the setting or the file; raises JudgeError when the file cannot be read."""
        if self.api_key_file is None:
            return self.api_key
        try:
            return self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise JudgeError(
                f"The API key cannot be read from {self.api_key_file}; see GRADER_LLM_API_KEY_FILE."
            ) from None


def default_memory_file() -> Path:
    """Where judgements are kept when nothing else is said."""
    return user_cache_path("answer-grader") / "judgements.sqlite3"


def load_judge(options: LlmOptions) -> LanguageJudge | None:
    """The model alone, loaded when it runs in this process; None where none is configured.

    Raises JudgeError when the configuration cannot work.
    """
    if options.backend == "none":
        return None
    if not options.model:
        raise JudgeError("A language model is configured without a name; set GRADER_LLM_MODEL.")
    if options.backend == "transformers":
        judge = TransformersJudge(options.model, options.device)
        judge.load()  # what is wrong with it is told now, and no answer waits for it
        return judge
    if find_spec("openai") is None:
        raise JudgeError("The openai client is missing; install it with: pip install 'answer-grader[llm]'")
    endpoint = Endpoint(options.base_url, options.model, options.key(), options.allowed_hosts, options.prices)
    return OpenAICompatibleJudge(endpoint)


def load_assistant(options: LlmOptions, mode: JudgeMode | None = None) -> Assistant | None:
    """The model with its memory and policy; None where none is configured. `mode` overrides the policy's."""
    policy = options.policy if mode is None else replace(options.policy, mode=mode)
    judge = load_judge(options)
    if judge is None and policy.mode == "required":
        raise JudgeError("A judge is required, but no language model is configured; set GRADER_LLM_BACKEND.")
    if judge is None:
        return None
    memory = Memory(options.memory_file or default_memory_file())
    return Assistant(Remembering(judge, memory), policy, options.concurrency)
