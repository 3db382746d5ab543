"""Text of unknown origin made safe and visible for a terminal."""

# What a model writes may hold escape sequences, which a terminal would obey: control characters become their
# pictures, C1 controls and direction overrides their number. Newline and tab are left to the caller.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "␡"}
_NUMBERS = {
    code: f"<U+{code:04X}>" for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_SAFE = _PICTURES | _NUMBERS


def safe(text: str) -> str:
    """`text` without anything a terminal would take as a command; line breaks and tabs stay."""
    return text.translate(_SAFE)


def one_line(text: str) -> str:
    """`safe` text on one line, with line breaks as ⏎ and tabs as ⇥."""
    return safe(text).replace("\n", "⏎").replace("\t", "⇥")
