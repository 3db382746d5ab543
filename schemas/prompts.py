"""The texts that models are asked with where the recipe gives none: Jinja, filled with data, never executed."""

PARAPHRASE = """\
Below are a question and an answer to it. Write the answer again in your own words, as you would have \
given it yourself. Keep every fact, every step and the final result. Write nothing but the answer.

Question:
{{ prompt }}

Answer:
{{ reference }}"""
"""After the distillation template of SDFT (Yang et al. 2024)."""

EDIT = """\
Below are a question, a student's answer and the correct solution. Correct the student's answer: change only \
what is wrong, and keep every other word as it is. If nothing is wrong, repeat it unchanged. Write nothing \
but the corrected answer.

Question:
{{ prompt }}

Correct solution:
{{ reference }}

Student's answer:
{{ answer }}"""

JUDGE = """\
Below are a question, a reference answer and a student's answer. Is the student's answer correct? It may be \
worded in any way, but it must agree with the reference answer. Say yes or no.

Question:
{{ prompt }}

Reference answer:
{{ reference }}

Student's answer:
{{ answer }}"""

FORBIDDEN = (
    "the reference", "reference answer", "original answer", "given answer", "provided answer",
    "my response", "my answer above", "in my own words", "paraphrase", "rewritten",
)  # fmt: skip
"""A rewrite that says such a thing talks about the rewriting."""
