# SPDX-License-Identifier: Apache-2.0
"""JSON bodies of requests as models: every fault at once, each with its place and its remedy."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from kernel.clock import from_iso
from kernel.errors import Fault
from kernel.text import entered


def _instant(text: str) -> str:
    try:
        from_iso(text)
    except ValueError:
        raise ValueError("is no RFC 3339 instant with offset") from None
    return text


_PLAIN: Final = {
    "string_type": "is no text",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "list_type": "is no list",
    "too_short": "is empty",
    "too_long": "has too many entries",
    "dict_type": "is no JSON object",
    "model_type": "is no JSON object",
    "model_attributes_type": "is no JSON object",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "finite_number": "is not a finite number",
}
"""Plain texts for kinds of pydantic errors; other kinds keep pydantic's own."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(entered)]
"""A text of one line, of 1 to 500 characters (`kernel.text`)."""
Instant = Annotated[str, AfterValidator(_instant)]
"""An RFC 3339 instant with its offset, kept as it was written."""
ShortText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(entered)
]


class Request(BaseModel):
    """One JSON object of a request: unknown fields are faults, numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def example(body: Mapping[str, Any]) -> ConfigDict:
    """The configuration of a model whose description shows one example."""
    return ConfigDict(json_schema_extra={"examples": [dict(body)]})


def request_faults(errors: Iterable[Mapping[str, Any]], model: type[BaseModel] | None) -> list[Fault]:
    """Faults of pydantic's errors about a body; `model` is the body's, for names and descriptions of its fields."""
    return [_fault(error, model) for error in errors]


def _fault(error: Mapping[str, Any], model: type[BaseModel] | None) -> Fault:
    loc = tuple(error["loc"])
    place, kind = ".".join(map(str, loc)) or "body", str(error["type"])
    owner, key = _owner(model, loc)
    info = owner.model_fields.get(key) if owner else None
    wanted = (info.description if info else None) or "Correct the value"
    if kind == "json_invalid":
        return Fault("body", "is no JSON", "Send one JSON object in UTF-8")
    if not loc:
        return Fault("body", "is no JSON object", "Send one JSON object")
    if kind == "missing":
        return Fault(place, "is missing", wanted if info and info.description else "Add it")
    if kind == "extra_forbidden":
        known = ", ".join(_names(owner)) if owner else ""
        return Fault(place[:60], "is not understood", f"Use {known}" if known else "Leave it out")
    message = _PLAIN.get(kind) or str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given!r:.60})" if isinstance(given, str | int | float | bool) else ""
    return Fault(place, f"{message[0].lower()}{message[1:]}{shown}", wanted)


def _names(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _owner(model: type[BaseModel] | None, loc: tuple[Any, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model that holds the last named field of a place, and the name of the field in Python."""
    owner, name = model, ""
    for step in loc:
        if isinstance(step, int) or model is None:
            continue
        owner = model
        name = next((one for one, info in model.model_fields.items() if (info.alias or one) == step), str(step))
        info = model.model_fields.get(name)
        model = _inner(info.annotation) if info else None
    return owner, name


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _inner(part))), None)
