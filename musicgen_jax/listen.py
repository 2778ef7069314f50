"""Listening tests in a browser: prepares a study, serves it, and says what the answers show.

    python -m musicgen_jax.listen --design=ab --systems=ours=DIR,theirs=DIR --out=STUDY       clips of equal file names

    python -m musicgen_jax.listen --serve=STUDY --port=8000                                   prints a link a listener

    python -m musicgen_jax.listen --analyse=STUDY                                             statistics and plots

Designs: mushra (how near do systems come to the --reference), mos (how good is each clip by itself), abx (can two
systems be told apart), ab (which one is preferred). docs/listening.md tells a study from two folders to a figure.
"""

from absl import flags

from musicgen_jax.command_line import cli
from musicgen_jax.runtime import buckets, console, files
from musicgen_jax.runtime.errors import UserError

_DESIGN = flags.DEFINE_enum("design", None, ["mushra", "mos", "abx", "ab"], "Prepares a study of this kind.")
_SYSTEMS = flags.DEFINE_list("systems", [], "Of --design: NAME=FOLDER,NAME=FOLDER with the clips of each system.")
_REFERENCE = cli.define_path("reference", "", "Of --design: folder of the originals, which mushra needs.")
_TITLE = flags.DEFINE_string("title", "Listening test", "Of --design: what listeners read above the pages.")
_CONSENT = cli.define_path("consent", "", "Of --design: text file that listeners agree to; by default a general one.")
_SEED = flags.DEFINE_integer("seed", 0, "Of --design: of orders and choices.", lower_bound=0)
_HEADPHONES = flags.DEFINE_bool("headphones", True, "Of --design: begin with a check for headphones.")
_MAX_SECONDS = flags.DEFINE_float("max_seconds", 12.0, "Of --design: the longest clip that is taken.")
_OUT = cli.define_path("out", "", "Folder for the study, the export, or the imported answers.", writes=True)
_SERVE = cli.define_path("serve", "", "Serves the study in this folder, until Ctrl-C.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Of --serve: address of this machine to listen on.")
_PORT = flags.DEFINE_integer("port", 8000, "Of --serve; 0 takes a free one.", lower_bound=0, upper_bound=65535)
_URL = flags.DEFINE_string("url", "", "Of --serve: how links begin, where listeners come by another name or a proxy.")
_LISTENERS = flags.DEFINE_integer("listeners", None, "Number of links, 20 by default; --serve adds those that lack.")
_ANALYSE = cli.define_path("analyse", "", "Analyses the answers to the study in this folder.", writes=True)
_EXPORT = cli.define_path("export_webmushra", "", "Writes the study in this folder to --out, for webMUSHRA.")
_IMPORT = flags.DEFINE_list("import_webmushra", [], "Result files of webMUSHRA, whose answers go to the folder --out.")
_POWER = flags.DEFINE_float("power", None, "With --design: how many listeners find a difference as large as this?")
_ITEMS = flags.DEFINE_integer("items", 10, "Of --power: clips that each listener hears of each system.", lower_bound=1)


@flags.validator("serve")
def _require_own_disk(folder: str) -> bool:
    """Answers are acknowledged when they are on disk: a copy of a bucket's folder would not be enough."""
    if folder and buckets.url_of(folder):
        raise flags.ValidationError("answers need a disk of this machine; copy the folder here")
    return True


def main() -> None:
    """Flags -> one call."""
    modes = {
        "power": _plan_listeners,  # before --design, which says of what kind the planned study is
        "design": _prepare,
        "serve": _serve,
        "analyse": _analyse,
        "export_webmushra": _export,
        "import_webmushra": _import,
    }
    given = [name for name in modes if flags.FLAGS[name].value not in (None, "", [])]
    if given == ["power", "design"]:
        given = ["power"]
    if len(given) != 1:
        written = ", ".join(f"--{name}" for name in modes)
        raise UserError(f"pass one of {written}, which say what to do; here are {len(given)}")
    modes[given[0]]()


def _prepare() -> None:
    from musicgen_jax.listening import preparation

    out = _require_out()
    settings = preparation.Settings(
        design=_DESIGN.value,
        systems=preparation.parse_systems(_SYSTEMS.value),
        reference=_REFERENCE.value,
        title=_TITLE.value,
        consent=files.read_text(_CONSENT.value) if _CONSENT.value else preparation.CONSENT,
        seed=_SEED.value,
        headphones=_HEADPHONES.value,
        max_seconds=_MAX_SECONDS.value,
    )
    number = preparation.LISTENERS if _LISTENERS.value is None else _LISTENERS.value
    made = preparation.prepare(settings, out, number)
    for name, reason in made.absent.items():
        console.say(f"no {name}: {reason}")
    kinds = [trial.kind for trial in made.trials]
    console.say(
        f"{_OUT.value}: {made.design}, {kinds.count('test')} trials, {kinds.count('attention')} attention checks"
    )
    console.say_next("listen", {"serve": out, "port": str(_PORT.value)})


def _serve() -> None:
    from musicgen_jax.listening import serving

    serving.serve(_SERVE.value, _HOST.value, _PORT.value, _URL.value, _LISTENERS.value)


def _analyse() -> None:
    import pathlib

    from musicgen_jax.listening import analysis

    found = analysis.analyse(_ANALYSE.value)
    for name, reason in found["absent"].items():
        console.say(f"no {name}: {reason}")
    print(files.describe_path(pathlib.Path(_ANALYSE.value, analysis.PAGE).absolute()))


def _export() -> None:
    from musicgen_jax.listening import webmushra

    print(files.describe_path(webmushra.export_study(_EXPORT.value, _require_out())))


def _import() -> None:
    from musicgen_jax.listening import webmushra

    out = _require_out()
    found = webmushra.import_results(_IMPORT.value, out)
    console.say(f"{out}: {found['answers']} answers of {found['listeners']} listeners, {found['design']}")
    for reason in found["left_out"]:
        console.say(f"left out: {reason}")
    for one in found["doubts"]:
        console.say(f"doubtful: {one['listener']} {one['item']}: {one['doubt']}")
    console.say_next("listen", {"analyse": out})


def _plan_listeners() -> None:
    import json

    from musicgen_jax.listening import power

    if not _DESIGN.value:
        raise UserError("--power needs --design: of which kind is the study to be?")
    print(json.dumps(power.plan(_DESIGN.value, _POWER.value, _ITEMS.value)))


def _require_out() -> str:
    if not _OUT.value:
        raise UserError("--out is missing: say in which folder the result should be")
    return _OUT.value


if __name__ == "__main__":
    cli.run(main)
