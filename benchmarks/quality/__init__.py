"""The quality card: how well the grader agrees with people, and what it takes to mislead it.

    grader benchmark quality [--data DIR] [--output docs/quality-card.md]

`bank` measures it on the bank that ships, `robustness` with twins, rewordings and attacks, `unseen_question` with what it
knows of a question taken away, `public` on public sets of graded answers (only with `--data`). `measures` holds the
arithmetic, `card` puts the figures into words. Everything is deterministic: no clock, seeds fixed.
"""
