"""Plugin options: checked by pydantic, with errors a user can act on. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cvtl.errors import OptionsError

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Options(BaseModel):
    """Base for a plugin's options: frozen, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def train_defaults(self) -> Mapping[str, Any]:
        """What of `cvtl.training.TrainSettings` should be otherwise with these options, unless a user says so."""
        return {}

    def run_defaults(self) -> Mapping[str, Any]:
        """What of `cvtl.run_settings.RunSettings` should be otherwise where a model is made of these options."""
        return {}


def make_options(options_type: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Check values and make options of them.

    Raises:
        OptionsError: every problem in one message, each with the option's name.

    Example:
        >>> class Demo(Options):
        ...     epochs: int = 3
        >>> make_options(Demo, {"epoch": 5})
        Traceback (most recent call last):
        cvtl.errors.OptionsError: option 'epoch': there is no such option. The options are epochs.
    """
    try:
        return options_type.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors()]
        unknown = any(each["type"] == "extra_forbidden" for each in error.errors())
        hint = f"The options are {', '.join(options_type.model_fields)}" if unknown else ""
        raise OptionsError("; ".join(problems), hint=hint) from None


def change_predict_options(options: OptionsT, changes: Mapping[str, Any]) -> OptionsT:
    """The same options with some fields of `options.predict` changed.

    Raises:
        OptionsError: these options have no `predict` part, no such field in it, or the value does not fit.
    """
    if not changes:
        return options
    predict = getattr(options, "predict", None)
    if not isinstance(predict, BaseModel):
        raise OptionsError(f"this plugin has no options to change for prediction, so not {', '.join(changes)}")
    changed = make_options(type(predict), predict.model_dump() | dict(changes))
    return options.model_copy(update={"predict": changed})


def _problem(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"option '{name}': there is no such option"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"option '{name}': {message}" if name else message
