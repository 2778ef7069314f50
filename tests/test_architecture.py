"""The house rules that a program can check: which way the imports go, and how long files and functions get."""

import ast
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "musicgen_jax"
FILES = [
    path
    for name in ("musicgen_jax", "configs", "launch", "benchmarks", "tests")
    for path in (REPOSITORY / name).rglob("*.py")
]

# Room (folder or root module) -> the rooms, or modules of rooms, that it may import besides itself. Root modules that
# the table does not name are entry points: they may import everything but each other.
MAY_IMPORT = {
    "runtime": set(),
    "command_line": {"config", "training.metrics", "sampling.options"},
    "config": set(),
    "audio": set(),
    "ddsp": {"scores", "sharding"},
    "scores": {"config"},
    "sharding": {"config"},
    "nn": {"sharding"},
    "transformer": {"config", "sharding", "nn.low_rank", "nn.parameters", "nn.tables"},
    "data": {"config", "sharding", "scores", "ddsp"},
    "codes": {"config", "sharding", "scores", "data"},
    "text": {"config", "nn"},
    "quantizers": {"config", "nn.parameters"},
    "tokenizers": {
        *("config", "nn", "audio", "ddsp", "data", "codes", "sharding", "quantizers"),
        *("training.state", "training.precision", "training.events"),
    },
    "conditions": {"config", "nn", "sharding", "transformer"},
    "priors": {
        *("config", "codes.layout", "codes.patterns", "codes.lyric_windows", "data.labels", "data.lyrics", "nn"),
        *("sharding", "transformer", "conditions", "training.state", "training.precision"),
    },
    "training": {"config", "nn", "sharding", "audio"},
    "sampling": {
        *("config", "nn", "sharding", "transformer", "audio", "scores", "ddsp", "data", "codes", "tokenizers"),
        *("conditions", "priors", "training.rng"),
    },
    "evaluation": {
        *("config", "audio", "ddsp", "scores", "data", "codes", "tokenizers", "priors", "sampling", "training.metrics"),
        *("conversion.checkpoint_files", "conversion.weight_table"),
        *("conversion.encodec_settings", "conversion.encodec_weights"),
    },
    "listening": {"config", "audio", "data", "evaluation"},
    "compression": {
        *("config", "nn", "sharding", "transformer", "priors", "data", "codes", "evaluation", "training"),
    },
    "kinds": {"config", "codes.layout", "nn", "sharding", "tokenizers", "text", "priors", "diffusion", "training"},
    "finetuning": {"config", "kinds", "nn", "priors", "sharding", "training"},
    "pretrained": {
        *("config", "finetuning", "nn", "sharding", "tokenizers", "text", "priors", "diffusion", "compression"),
        *("training", "kinds"),
    },
    "model_card": {"kinds", "data.licences", "training.metrics"},
    "diffusion": {"config", "nn", "sharding", "conditions", "priors", "data", "codes", "sampling", "training"},
    "composition": {"config", "priors", "pretrained", "sampling", "scores"},
    "generation": {"composition", "config", "scores", "codes", "tokenizers", "priors", "pretrained", "sampling"},
    "planning": {"priors.jukebox_batch", "config", "nn", "sharding", "transformer", "codes", "kinds", "training"},
    "conversion": {"config", "nn", "text", "priors", "kinds", "pretrained", "training.checkpointing"},
}


def imported(path: pathlib.Path) -> set[str]:
    """The package's own modules that a file imports, as dotted paths below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write `from musicgen_jax...`, not a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.removeprefix("musicgen_jax.") for name in names if name.startswith("musicgen_jax.")}
    return found


def offences(place: str, names: set[str]) -> list[str]:
    """Imports of `place` that the table forbids."""
    entry_points = {path.stem for path in PACKAGE.glob("*.py")} - set(MAY_IMPORT)
    allowed = MAY_IMPORT.get(place)
    if allowed is None:
        return sorted(name for name in names if name.split(".")[0] in entry_points)
    own = {"runtime"} | ({place} if (PACKAGE / place).is_dir() else set())
    return sorted(
        name
        for name in names
        if name.split(".")[0] not in allowed | own and ".".join(name.split(".")[:2]) not in allowed
    )


def test_imports_go_one_way():
    found = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert path.parent == PACKAGE or place in MAY_IMPORT, f"{place}/ is new: give it a line in MAY_IMPORT"
        found += [f"{path.relative_to(REPOSITORY)} imports {name}" for name in offences(place, imported(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("place", "name", "allowed"),
    [
        ("training", "priors.prior", False),
        ("training", "training.step", True),
        ("sampling", "training.rng", True),
        ("sampling", "training.loop", False),
        ("config", "sharding.rules", False),
        ("train_prior", "training.loop", True),
        ("train_prior", "train_vqvae", False),
    ],
)
def test_the_test_sees_offences(place, name, allowed):
    assert (offences(place, {name}) == []) == allowed


def test_the_table_has_no_circles():
    for place, allowed in MAY_IMPORT.items():
        for other in allowed:
            assert place not in MAY_IMPORT[other.split(".")[0]]


TIERS = {"top", "middle", "bottom"}
# Files of the package beside `tokenizers/` that may have these names in their code, and why. All others ask the layout.
MAY_NAME_TIERS = {
    "config/vqvae.py": "the config of the tokenizer whose streams they are",
    "config/fields.py": "folders of the time when there was no other tokenizer",
    "config/prior.py": "the stream of a prior whose config does not say",
    "config/jukebox.py": "published priors",
    "conversion/jukebox.py": "published checkpoints",
    "conversion/jukebox_prior.py": "published checkpoints",
    "conversion/jukebox_vqvae.py": "published checkpoints",
    "command_line/model_flags.py": "flags",
    "convert.py": "flags",
    "plan.py": "the published cascade",
    "sample.py": "flags",
    "evaluation/report_charts.py": "SVG calls an anchor so",
}


def named_tiers(code: str) -> list[str]:
    """What of a file's code has the name of a tier: strings, attributes, keywords; no local variables, no comments."""
    found = []
    for node in ast.walk(ast.parse(code)):
        name = {ast.Constant: "value", ast.Attribute: "attr", ast.keyword: "arg"}.get(type(node))
        if name and getattr(node, name) in TIERS:
            found.append(f"{node.lineno}: {getattr(node, name)}")
    return sorted(found)


def test_only_tokenizers_know_which_streams_of_codes_there_are():
    places = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    assert not [place for place, code in places.items() if re.search(r"\bTIER(S|_ABOVE)\b", code)]
    named = {place: found for place, code in places.items() if (found := named_tiers(code))}
    outside = {place: found for place, found in named.items() if not place.startswith("tokenizers/")}
    assert not {place: found for place, found in outside.items() if place not in MAY_NAME_TIERS}
    assert MAY_NAME_TIERS.keys() <= outside.keys(), "those that no longer name one need no leave"


def test_only_tokenizers_know_their_configs():
    """Who else needs to know something of a tokenizer asks its layout; `kinds.py` has the runs."""
    places = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "VQVAEConfig" in path.read_text()]
    outside = [place.as_posix() for place in places if place.parts[0] not in ("config", "tokenizers", "kinds.py")]
    assert outside == ["conversion/jukebox_vqvae.py"]  # whose subject one is


def test_named_tiers_are_seen():
    code = 'for tier in ("top", "finest"):\n    hop = settings.bottom.hop\n    load(middle=hop)'
    assert named_tiers(code) == ["1: top", "2: bottom", "3: middle"]
    assert not named_tiers('"""The top tier."""\ntop = middle + 1  # "bottom"\nlayout.streams[0]')


def test_files_have_at_most_400_lines():
    assert FILES
    lengths = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > 400}


def test_functions_have_at_most_60_lines_and_rarely_more_than_40():
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert not {name: lines for name, lines in lengths.items() if lines > 60}
    long = {name: lines for name, lines in lengths.items() if lines > 40}
    assert len(long) <= 0.02 * len(lengths), long


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by name from all folders: two of a name, a second conftest.py too, hide one another."""
    names = [path.name for path in (REPOSITORY / "tests").rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_test_imports_a_verb():
    """Its flags would stay in the process: the tests that come later would find them, whichever those are."""
    verbs = {path.stem for path in PACKAGE.glob("*.py") if "cli.run(main)" in path.read_text()}
    assert {"sample", "evaluate", "train_prior"} <= verbs
    found = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in (REPOSITORY / "tests").rglob("*.py")
        for name in imported_at_once(path)
        if name in verbs
    ]
    assert not found, "\n".join(found)


def imported_at_once(path: pathlib.Path) -> set[str]:
    """The package's modules that a file imports at its top, as dotted paths below the package."""
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in top if node.module == "musicgen_jax" for alias in node.names}
