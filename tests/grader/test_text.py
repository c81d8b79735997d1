"""Normalisation and segments: offsets always lead back to the words as they were sent."""

from __future__ import annotations

import sys

import pytest

from grader.text import MAX_SEGMENT_WORDS, normalise, split, words

ANSWERS = [
    "Plain sentence. Another one! And a third?",
    "Ｆｕｌｌ－ｗｉｄｔｈ letters, a “quote”, a\u00a0hard space and a zero\u200bwidth one.",
    "<b>Bold</b> and <script>alert(1)</script> and <!-- hidden --> List<int> stays.",
    "- first bullet\n- second bullet\n  goes on here\n* third one\n",
    "Text before.\n```python\nloss.backward()  # adds to .grad\noptimizer.step()\n```\nText after.",
    "Windows\r\nline ends\r\nhere. Next one.",
    "emoji 🙂 and combining e\u0301 and \U0001d54f math letters. ﬁne ligature.",
    "so um basically you call backward and then it goes through the graph and then it adds the gradient and then "
    "you call step and then the weights move and then you zero the gradients and so on and so on until it is done okay",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_span_is_verbatim(answer: str) -> None:
    normalised = normalise(answer)
    for segment in split(normalised):
        span = normalised.span(segment.start, segment.end)
        assert answer[span.start : span.end] == span.text
        assert span.text


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_word_is_lost_between_segments(answer: str) -> None:
    normalised = normalise(answer)
    kept = [word for segment in split(normalised) for word in words(normalised.text[segment.start : segment.end])]
    assert kept == words(normalised.text.replace("```python", "```"))


def test_origins_have_one_offset_per_character() -> None:
    normalised = normalise("ﬁne ½ <b>x</b>")
    assert len(normalised.origins) == len(normalised.text)
    assert normalised.text.startswith("fine ")
    assert list(normalised.origins) == sorted(normalised.origins)


def test_full_width_and_curly_text_reads_like_plain_text() -> None:
    assert normalise("Ｇｒａｄｉｅｎｔｓ ａｄｄ ｕｐ").text == "Gradients add up"
    assert normalise("it’s “so”").text == 'it\'s "so"'


def test_tags_go_but_generics_stay() -> None:
    assert words(normalise("<b>Bold</b> List<int>").text) == ["bold", "list", "int"]


def test_windows_line_ends_are_one_line_end() -> None:
    assert normalise("a\r\nb").text == "a\nb"


def test_bullets_are_segments() -> None:
    segments = split(normalise("- backward adds\n- zero_grad clears\n* step moves the weights"))
    assert [segment.text for segment in segments] == ["backward adds", "zero_grad clears", "step moves the weights"]
    assert {segment.kind for segment in segments} == {"bullet"}


def test_hard_wrapped_lines_are_one_sentence() -> None:
    segments = split(normalise("The gradients are added\nup at every call. Then they\nare cleared."))
    assert [s.text for s in segments] == ["The gradients are added up at every call.", "Then they are cleared."]


@pytest.mark.parametrize("text", ["Use e.g. Adam here.", "Since v0.4 it is gone.", "Call torch.nn.Linear and go on."])
def test_abbreviations_versions_and_names_do_not_end_a_sentence(text: str) -> None:
    assert [segment.text for segment in split(normalise(text))] == [text]


def test_code_with_and_without_fence_is_code() -> None:
    fenced = split(normalise("```\noptimizer.zero_grad()  # clear\nloss.backward()  # add\n```"))
    bare = split(normalise("optimizer.zero_grad()  # clear\nloss.backward()  # add"))
    assert (
        [s.text for s in fenced]
        == [s.text for s in bare]
        == [
            "optimizer.zero_grad() # clear",
            "loss.backward() # add",
        ]
    )
    assert {s.kind for s in [*fenced, *bare]} == {"code"}


def test_prose_with_an_equals_sign_is_prose() -> None:
    segments = split(normalise("You set requires_grad=True on the tensor and then it is tracked by autograd."))
    assert [segment.kind for segment in segments] == ["prose"]


def test_a_long_transcript_is_cut_into_clauses() -> None:
    segments = split(normalise(ANSWERS[-1] + " " + "word " * 200))
    assert len(segments) > 4
    assert max(len(segment.words) for segment in segments) <= MAX_SEGMENT_WORDS + 5


def test_a_long_answer_keeps_its_last_sentence() -> None:
    answer = "This is filler about nothing in particular. " * 400 + "The very last sentence counts."
    assert split(normalise(answer))[-1].text == "The very last sentence counts."


@pytest.mark.parametrize("separator", [" | ", "; ", " / ", " - ", ", ", " — "])
def test_twice_as_many_separators_cost_about_twice_the_work(separator: str) -> None:
    def calls(count: int) -> int:
        tally = 0

        def count_call(_frame: object, event: str, _argument: object) -> None:
            nonlocal tally
            tally += event in {"call", "c_call"}

        normalised = normalise(("a b c" + separator) * count)
        sys.setprofile(count_call)  # calls, not seconds: the machine may be busy
        split(normalised)
        sys.setprofile(None)
        return tally

    assert calls(400) < 3 * calls(200)


@pytest.mark.parametrize("answer", ["", "   \n\t", "...", "🙂🙂", "\u200b\u200b", "\x00"])
def test_nothing_said_gives_no_segments(answer: str) -> None:
    assert split(normalise(answer)) == []


def test_lone_surrogates_and_control_characters_do_no_harm() -> None:
    normalised = normalise("good \ud800 answer \x00 here.")
    assert words(normalised.text) == ["good", "answer", "here"]
    (segment,) = split(normalised)
    assert normalised.span(segment.start, segment.end).start == 0


@pytest.mark.parametrize(
    ("posing", "plain"),
    [
        ("Тhе grаdіеnts аrе аddеd uр", "The gradients are added up"),  # Cyrillic letters in every word
        ("gr\u200bad\u00adi\u2060ents a\ufe0fdd", "gradients add"),
        ("𝐆𝐫𝐚𝐝𝐢𝐞𝐧𝐭𝐬 add", "Gradients add"),
        ("gradients a\u0301dd", "gradients add"),
        ("a &lt; b &amp;&amp; c", "a < b && c"),
        ("gradient&#115; add", "gradients add"),
    ],
)
def test_a_disguise_is_taken_off(posing: str, plain: str) -> None:
    normalised = normalise(posing)
    assert normalised.text == plain
    span = normalised.span(0, len(plain))
    assert posing[span.start : span.end] == span.text == posing


@pytest.mark.parametrize(
    "text", ["Градиенты накапливаются", "Οι κλίσεις αθροίζονται", "the rate α, β and λ", "x && y; &grad;"]
)
def test_what_is_no_disguise_stays(text: str) -> None:
    assert normalise(text).text == text


def test_speech_written_down_without_marks_is_cut_where_a_speaker_goes_on() -> None:
    answer = (
        "so backward goes through the graph from the loss and it adds what it finds to the grad of every weight so you have "
        "to clear that in each step because otherwise the next step uses the sum of all batches so far"
    )
    assert [segment.text for segment in split(normalise(answer))] == [
        "so backward goes through the graph from the loss and it adds what it finds to the grad of every weight",
        "so you have to clear that in each step because otherwise the next step uses the sum of all batches so far",
    ]


def test_a_long_sentence_with_commas_is_cut_at_its_clauses_only() -> None:
    clause = "the gradients of all earlier batches are still stored in there, which nobody wants, "
    assert len(split(normalise(clause * 2 + "and so they are cleared."))) == 1
