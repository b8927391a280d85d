"""Options that several verbs share: a dataclass of them is one parameter of a verb, and many on its command line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints


class OptionGroup:
    """Base of the frozen, keyword-only dataclasses whose fields are annotated as Typer's options are.

    A command that has a parameter of such a type takes the options of the group in the place of that parameter.
    """


def flattened(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for Typer, which knows no groups: each is taken apart into its options, and made of their values."""
    own = inspect.signature(function, eval_str=True)
    groups = {p.name: p.annotation for p in own.parameters.values() if _is_group(p.annotation)}
    options = {name: _options(group) for name, group in groups.items()}
    parameters = [
        option
        for p in own.parameters.values()
        for option in options.get(p.name, [p.replace(kind=inspect.Parameter.KEYWORD_ONLY)])
    ]

    @functools.wraps(function)
    def run(**values: Any) -> Any:
        made = {
            name: group(**{option.name: values.pop(option.name) for option in options[name]})
            for name, group in groups.items()
        }
        return function(**made, **values)

    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, OptionGroup)


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
