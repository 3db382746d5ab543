"""Text of unknown origin made safe and visible, for terminals and pages."""

import unicodedata

# What a model writes may hold escape sequences, which a terminal would obey: control characters become their
# pictures; C1 controls, what changes the direction of writing, and what cannot be seen become their number.
# Newline and tab are left to the caller.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "␡"}
_HIDDEN = (
    *range(0x80, 0xA0), 0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070),
    0xFEFF, *range(0xE0000, 0xE0080),
)  # fmt: skip
_NUMBERS = {code: f"<U+{code:04X}>" for code in _HIDDEN}
_SAFE = _PICTURES | _NUMBERS


def safe(text: str) -> str:
    """`text` without anything a terminal would take as a command; line breaks and tabs stay."""
    return text.translate(_SAFE)


def one_line(text: str) -> str:
    """`safe` text on one line, with line breaks as ⏎ and tabs as ⇥."""
    return safe(text).replace("\n", "⏎").replace("\t", "⇥")


def tangible(text: str) -> str:
    """`one_line` text; a joiner, which belongs to letters beside it, as its number where it stands alone."""
    if text and all(unicodedata.category(letter) == "Cf" for letter in text):
        return "".join(f"<U+{ord(letter):04X}>" for letter in text)
    return one_line(text)
