"""A judge in this process: any causal language model that transformers can load, by name, folder or GGUF file.

Verdicts are read from the logits of a closed set, never from free text. The prompt up to where criteria differ is
computed once and kept as a cache; each criterion then costs one short continuation for the verdict and, where something
is credited or blamed, one for the passage that shows it. What a model says does not depend on what else it is asked.
"""

from __future__ import annotations

import copy
import inspect
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grader.bank import content_hash
from grader.errors import JudgeError, JudgeUnavailable
from grader.judges import Case
from grader.judges.language import Consultation, Usage, Writing
from grader.judges.prompting import SYSTEM, VERDICTS, VERSION, LlmVerdict, abstention, answer_block, delimiter, show
from grader.schema import Criterion, EvidenceSpan, Judgement
from grader.texts import say

# What the model may say for each verdict: they differ in their first letter.
SAID: dict[LlmVerdict, str] = {"met": "met", "not_met": "not met", "contradicted": "contradicted"}
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Share of all probability that the offered words must have together; below it the model does not take part.
LEAST_TAKING_PART = 0.01
MOST_SAID = len("Verdict: contradicted\nPassage: [A")  # tokens after a prompt, if each is no more than a letter
ASK = """Criterion: {statement}
Does the answer meet it? Say one of: met, not met, contradicted. Then name the passage that shows it by its letter."""
PROMPT_VERSION = content_hash([VERSION, SAID, ASK, LEAST_TAKING_PART])[:8]


class _Passage(NamedTuple):
    first: int  # segments, both ends included
    last: int
    text: str


class TransformersJudge:
    """Loads its model when it is first asked, on `device` (`auto`: a GPU if there is one; bf16 there, fp32 on a CPU)."""

    name = "transformers_llm"

    def __init__(self, model: str, device: str = "auto", revision: str | None = None) -> None:
        self.model_name = model
        self.revision = revision
        self.device = device
        self.version = f"{Path(model).name}{'@' + revision if revision else ''}+{PROMPT_VERSION}+{_told_apart(model)}"
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()  # one answer at a time: the model has one cache, and the cores are busy anyway

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        return self.consult(case, criteria, seconds=math.inf).judgements

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult. `seconds` are looked at between continuations."""
        if not criteria:
            return Consultation([], Usage())
        ends = time.monotonic() + seconds
        with self._held(ends):
            return self._consult(case, criteria, ends)

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write: greedy, with a limit of tokens and of time."""
        import torch

        ends = time.monotonic() + seconds
        with self._held(ends), torch.inference_mode():
            model, tokenizer = self.load()
            chat = self._ids(_chat(tokenizer, system, self._inert(prompt)))
            _check_room(model, len(chat))
            ids = torch.tensor([chat], device=model.device)
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                max_time=max(0.1, ends - time.monotonic()),
                pad_token_id=tokenizer.eos_token_id,
            )
            new = made[0, ids.shape[1] :]
            return Writing(tokenizer.decode(new, skip_special_tokens=True), Usage(ids.shape[1], len(new)))

    def load(self) -> tuple[Any, Any]:
        """Model and tokenizer, loaded once; raises JudgeError."""
        if self._loaded is None:
            self._loaded = _load(self.model_name, self.device, self.revision)
        return self._loaded

    def close(self) -> None:
        """Lets go of the model."""
        self._loaded = None

    # ---- one answer --------------------------------------------------------------------------------------------------

    def _consult(self, case: Case, criteria: Sequence[Criterion], ends: float) -> Consultation:
        import torch

        model, tokenizer = self.load()
        passages = _passages(case)
        shown = "\n".join(f"[{label}] {one.text}" for label, one in zip(LABELS, passages, strict=False))
        block = self._inert(answer_block(case.index.question, shown, delimiter(case)))
        asks = [_chat(tokenizer, SYSTEM, f"{block}\n\n{ASK.format(statement=one.statement)}") for one in criteria]
        rows = [self._ids(ask) for ask in asks]
        _check_room(model, max(map(len, rows)))
        # The prefix ends where any criterion could begin, so that it is the same alone and in company.
        start, other = (
            self._ids(_chat(tokenizer, SYSTEM, f"{block}\n\n{ASK.format(statement=text)}")) for text in ("#", "a")
        )
        shared = min(_common(start, ids) for ids in (other, *rows))
        with torch.inference_mode():
            reader = _Reader(model, torch.tensor([start[:shared]]))
            judgements = []
            for criterion, ask in zip(criteria, asks, strict=True):
                if time.monotonic() > ends:
                    raise JudgeUnavailable("timeout", say("grade.degraded.too_long"))
                judgements.append(self._one(case, criterion, reader, f"{ask}Verdict:", passages))
        return Consultation(judgements, Usage(reader.read, 0))

    def _one(
        self, case: Case, criterion: Criterion, reader: _Reader, asked: str, passages: Sequence[_Passage]
    ) -> Judgement:
        every = self._chances(reader, asked, [f" {SAID[verdict]}" for verdict in VERDICTS])
        taking_part = sum(every)
        if not taking_part >= LEAST_TAKING_PART:
            return abstention(criterion)
        chances = dict(zip(VERDICTS, (value / taking_part for value in every), strict=True))
        verdict = max(VERDICTS, key=lambda name: chances[name])
        evidence: tuple[EvidenceSpan, ...] = ()
        if verdict != "not_met":
            labels = LABELS[: len(passages)]
            found = self._chances(reader, f"{asked} {SAID[verdict]}\nPassage: [", list(labels))
            best = found.index(max(found))
            evidence = (case.quote((passages[best].first, passages[best].last)),)
        return Judgement(
            criterion_id=criterion.id,
            p_met=chances["met"],
            p_contradicted=min(chances["contradicted"], 1.0 - chances["met"]),
            evidence=evidence,
            judged_by="llm",
        )

    def _chances(self, reader: _Reader, text: str, offered: Sequence[str]) -> list[float]:
        """How likely the model goes on from a text with each of some words: by the first token in which they differ.

        Where that is depends on the tokenizer: some join a blank or a bracket with what follows it, others do not.
        """
        import torch

        if len(offered) == 1:
            return [1.0]
        rows = [self._ids(text + word) for word in offered]
        differ = min(_common(rows[0], row) for row in rows[1:])
        tokens = [row[differ] for row in rows]
        if len(set(tokens)) < len(tokens):
            raise JudgeError("The model's tokenizer does not tell the offered words apart; take another model.")
        logits = reader.next(torch.tensor([rows[0][reader.length : differ]]))
        chances: list[float] = torch.softmax(logits, dim=-1)[tokens].tolist()
        return chances

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        """Tokens. A chat template writes its own special tokens; none are added to it."""
        ids: list[int] = self.load()[1](text, add_special_tokens=False).input_ids
        return ids

    def _inert(self, text: str) -> str:
        """The text without the tokens that a chat template is made of, whatever this model's are."""
        for token in sorted(set(self.load()[1].get_added_vocab()), key=len, reverse=True):
            if len(token) > 2 and not token.isspace():
                text = text.replace(token, " ".join(token))
        return text

    def _held(self, ends: float) -> _Held:
        return _Held(self._lock, ends)


class _Held:
    """A lock that gives up when the time is over."""

    def __init__(self, lock: threading.Lock, ends: float) -> None:
        self._lock, self._ends = lock, ends

    def __enter__(self) -> None:
        left = self._ends - time.monotonic()
        if not self._lock.acquire(timeout=min(max(left, 0.0), threading.TIMEOUT_MAX)):
            raise JudgeUnavailable("timeout", say("grade.degraded.busy"))

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Reader:
    """A model that has read a prefix of `length` tokens, and says what comes next after continuations of it.

    `read` counts tokens.
    """

    def __init__(self, model: Any, prefix: Any) -> None:
        from transformers import DynamicCache

        self._model = model
        # Its name before and since transformers 5.2x; the older one is to go.
        self._keyword = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self._cache = DynamicCache(config=model.config)
        self.read = self.length = 0
        self._logits(prefix, self._cache)
        self.length = int(prefix.shape[1])

    def next(self, continuation: Any) -> Any:
        """Logits (vocabulary,) in float32 of the token after prefix and continuation."""
        # Some caches (sliding windows) cannot be cut back, so every continuation gets its own copy of the prefix.
        return self._logits(continuation, copy.deepcopy(self._cache))

    def _logits(self, ids: Any, cache: Any) -> Any:
        given = {self._keyword: cache, "use_cache": True, "logits_to_keep": 1}
        out = self._model(input_ids=ids.to(self._model.device), **given)
        self.read += int(ids.shape[1])
        return out.logits[0, -1].float().cpu()


def _told_apart(name: str) -> str:
    """A hash that differs for models whose names end alike, and for files that were replaced; reads none of them."""
    path = Path(name)
    files = [path] if path.is_file() else sorted(one for one in path.glob("*") if one.is_file())
    known = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    return content_hash([name, known])[:6]


def _check_room(model: Any, tokens: int) -> None:
    """Raises JudgeUnavailable when a prompt has more tokens than a model has positions: beyond them it talks nonsense."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and tokens + MOST_SAID > most:
        raise JudgeUnavailable("refused", say("grade.degraded.no_room"))


def _chat(tokenizer: Any, system: str, user: str) -> str:
    """The chat up to where the model speaks, in the model's own template; without a system role it joins the user's."""
    if tokenizer.chat_template is None:
        return f"{system}\n\n{user}\n\n"
    roles = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    try:
        return str(tokenizer.apply_chat_template(roles, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # templates are programs that raise what they like
        if "system" not in str(error).lower():
            raise JudgeError(f"The model's chat template cannot be used: {type(error).__name__}.") from error
        joined = [{"role": "user", "content": f"{system}\n\n{user}"}]
        return str(tokenizer.apply_chat_template(joined, tokenize=False, add_generation_prompt=True))


def _passages(case: Case) -> list[_Passage]:
    """The answer in at most as many passages as there are letters, each of neighbouring segments."""
    count = len(case.vectors.segments)
    size = math.ceil(count / len(LABELS))
    found = []
    for first in range(0, count, size):
        last = min(first + size, count) - 1
        part = case.vectors.segments[first : last + 1]
        found.append(_Passage(first, last, show(case, part).text.replace("\n", " ")))
    return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning of two rows of tokens, at least one short of either."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def _load(name: str, device: str, revision: str | None) -> tuple[Any, Any]:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise JudgeError("transformers is missing; reinstall answer-grader.") from None
    path = Path(name)
    source: dict[str, Any] = {}
    if path.suffix == ".gguf":
        name, source = str(path.parent), {"gguf_file": path.name}
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False, **source)
        model = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, trust_remote_code=False, dtype=dtype, **source
        )
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise JudgeError(
            f"The language model {path.name!r} cannot be loaded ({error}); name a folder, a .gguf file or a model that is "
            "in the Hugging Face cache."
        ) from error
    return model.to(device).eval(), tokenizer
