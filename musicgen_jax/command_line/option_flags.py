"""The flags of the options of sampling, which `sampling.options` declares."""

from typing import Any

from absl import flags

from musicgen_jax.command_line import cli
from musicgen_jax.runtime import buckets, errors, files
from musicgen_jax.sampling.options import OPTIONS, Option

flags.disclaim_key_flags()  # what is defined here is the caller's


def define() -> None:
    """Defines a flag for every option of `sampling.options.OPTIONS`."""
    for option in OPTIONS:
        name, default, text = option.flag_name, option.flag_value, errors.spelled(option.help, cli.flag_of)
        if option.choices:
            flags.DEFINE_enum(name, default, option.choices, text)
        elif option.type in ("path", "source"):
            cli.define_path(name, None, text)
        elif option.type in ("names", "texts", "labels"):
            flags.DEFINE_multi_string(name, None if default is None else list(default), text)
        elif option.type == "wholes":
            flags.DEFINE_list(name, list(default), text)
        elif option.type == "by_stream":
            flags.DEFINE_string(name, None if default is None else str(default), text)
        else:
            define = {"number": flags.DEFINE_float, "whole": flags.DEFINE_integer, "truth": flags.DEFINE_bool}
            define.get(option.type, flags.DEFINE_string)(name, default, text)


def present() -> list[str]:
    """Names of the flags that were given."""
    return [option.flag_name for option in OPTIONS if flags.FLAGS[option.flag_name].present]


def given() -> dict[str, Any]:
    """The values of the flags, as arguments of `generation.MusicGenerator.write`; a flag that has none is left out.

    Raises:
      UserError: a value is out of range; told before anything heavy is imported.
      NotFoundError: a file that holds a text is not there.
    """
    said = {option.name: _value(option, flags.FLAGS[option.flag_name].value) for option in OPTIONS}
    for option in OPTIONS:
        option.require(said[option.name])
    return {name: value for name, value in said.items() if value is not None}


def _value(option: Option, value: Any) -> Any:
    if value is None:
        return None
    if option.type == "document" and files.names_a_text(value):
        if buckets.is_url(value):
            value = str(buckets.fetch(buckets.local_path(value, option.name)))
        files.require_file(files.local_path(value, option.name), "text file")
    parse = {"by_stream": option.parse, "labels": option.parse_labels, "wholes": option.parse_wholes}.get(option.type)
    return parse(value) if parse else value
