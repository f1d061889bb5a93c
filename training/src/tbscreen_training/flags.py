"""Command-line flags made from the configuration's own fields, so that the two never differ."""

import argparse
import shlex
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tbscreen_shared.contracts import Frozen
from tbscreen_training.config import (
    Augmentation,
    DataConfig,
    FineTuneConfig,
    FitConfig,
    RunConfig,
)
from tbscreen_training.errors import TrainingError

_SECTIONS: Final[dict[str, tuple[type[Frozen], str]]] = {
    "data": (DataConfig, ""),
    "augmentation": (Augmentation, ""),
    "fit": (FitConfig, ""),
    "fine_tune": (FineTuneConfig, "fine-tune-"),
}
_OWN_SYNTAX: Final = ("roots", "classes", "leave_out", "calibrate_on", "folds")
_SEPARATOR: Final = "."


def add_section(parser: argparse.ArgumentParser, section: str) -> None:
    """Adds a flag for each field of a section of the run's configuration."""
    model, prefix = _SECTIONS[section]
    group = parser.add_argument_group(section.replace("_", "-"))
    for name, field in model.model_fields.items():
        if name not in _OWN_SYNTAX:
            _add(group, f"--{prefix}{name.replace('_', '-')}", section + _SEPARATOR + name, field)


def add_fields(parser: argparse.ArgumentParser, *names: str) -> None:
    """Adds flags for top-level fields of the run's configuration."""
    for name in names:
        _add(parser, f"--{name.replace('_', '-')}", name, RunConfig.model_fields[name])


def add_data_sources(parser: argparse.ArgumentParser) -> None:
    """Adds --data, --class, --leave-out and --calibrate-on, which may be repeated."""
    parser.add_argument(
        "--data",
        action="append",
        metavar="PATH",
        dest=f"data{_SEPARATOR}roots",
        default=argparse.SUPPRESS,
        help="a folder for each class, a manifest.csv (file,label[,source,group,split,mask]), or "
        "NLM's sets (Shenzhen, Montgomery) or TBX11K as unpacked; may be repeated",
    )
    parser.add_argument(
        "--class",
        action="append",
        metavar="NAME=LABEL[,LABEL…]",
        dest=f"data{_SEPARATOR}classes",
        default=argparse.SUPPRESS,
        help="a class of the model and the labels in the data that make it; may be repeated; "
        "without it each label is a class",
    )
    parser.add_argument(
        "--leave-out",
        action="append",
        metavar="SOURCE",
        dest=f"data{_SEPARATOR}leave_out",
        default=argparse.SUPPRESS,
        help="a source that is neither trained on nor chosen by; may be repeated",
    )
    parser.add_argument(
        "--calibrate-on",
        action="append",
        metavar="SOURCE",
        dest=f"data{_SEPARATOR}calibrate_on",
        default=argparse.SUPPRESS,
        help="a source left out on which, beside the validation split, probabilities and "
        "thresholds are chosen; may be repeated",
    )


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Adds --fold, which may be repeated."""
    parser.add_argument(
        "--fold",
        action="append",
        metavar="NAME=SOURCE[,SOURCE…]",
        dest="folds",
        default=argparse.SUPPRESS,
        help="sources to leave out of a training of its own, to be scored on; may be repeated; "
        "without it each source with both the positive class and another is left out in turn",
    )


def configure(given: argparse.Namespace, base: RunConfig | None, *, command: str) -> RunConfig:
    """Returns the run's configuration: `base` with what the flags say.

    Raises:
        TrainingError: a value does not fit.
    """
    merged: dict[str, Any] = base.model_dump() if base else {}
    for key, value in vars(given).items():
        section, separator, field = key.partition(_SEPARATOR)
        if separator and section in _SECTIONS:
            merged.setdefault(section, {})[field] = _parse(field, value)
        elif key in RunConfig.model_fields:
            merged[key] = _parse(key, value)
    merged["command"] = " && ".join(part for part in (merged.get("command"), command) if part)
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        faults = (
            f"--{str(fault['loc'][-1]).replace('_', '-')}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"]
            for fault in error.errors()
        )
        raise TrainingError("\n".join(faults)) from error


def without_paths(arguments: list[str]) -> str:
    """Returns a command line with each path cut to its last part, for a published manifest.

    A table of files keeps its folder, since all of them are called manifest.csv.
    """
    return " ".join(_without_path(argument) for argument in arguments)


def _add(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    flag: str,
    destination: str,
    field: FieldInfo,
) -> None:
    text = f"{field.description or ''} (default: {field.default})".strip().replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            dest=destination,
            default=argparse.SUPPRESS,
            help=text,
        )
    elif field.annotation == tuple[str, ...]:
        parser.add_argument(
            flag,
            action="append",
            metavar="NAME",
            dest=destination,
            default=argparse.SUPPRESS,
            help=text,
        )
    else:
        parser.add_argument(
            flag, dest=destination, metavar="VALUE", default=argparse.SUPPRESS, help=text
        )


def _parse(field: str, value: Any) -> Any:
    if field == "roots":
        return [Path(root).resolve() for root in value]
    if field not in ("classes", "folds"):
        return value
    named: dict[str, tuple[str, ...]] = {}
    for text in value:
        name, _, members = text.partition("=")
        if not name or name in named:
            flag = "--class" if field == "classes" else "--fold"
            raise TrainingError(f"{flag} {text!r}: each name is given once")
        named[name] = tuple(members.split(",")) if members else (name,)
    return named


def _without_path(argument: str) -> str:
    flag, separator, value = (
        argument.rpartition("=") if argument[:2] == "--" else ("", "", argument)
    )
    if "/" in value and (Path(value).is_absolute() or Path(value).exists()):
        parts = Path(value).parts
        value = "/".join(parts[-2:] if value.endswith(".csv") else parts[-1:])
    return shlex.quote(flag + separator + value)
