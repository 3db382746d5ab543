"""A text that a model is asked with: a template of the recipe's, filled with data in a sandbox."""

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from forgetless.schemas.errors import RecipeError

_JINJA = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


class Prompt:
    """A Jinja text with the given variables; what they hold is data, and is not rendered again.

    Raises:
        RecipeError: no template, or one that uses other variables.
    """

    def __init__(self, source: str, key: str, variables: tuple[str, ...]) -> None:
        """`key` is where the recipe has it."""
        try:
            self._template = _JINJA.from_string(source)
            self.fill(**dict.fromkeys(variables, "…"))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            hint = f"it can use {', '.join('{{ ' + name + ' }}' for name in variables)}"
            raise RecipeError(f"`{key}` is no usable prompt: {error}", hint) from None

    def fill(self, **values: str) -> str:
        """The text with the values in it."""
        return self._template.render(values)
