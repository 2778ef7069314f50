"""Layouts: what they say of streams, as JSON and back, and older descriptions."""

import json

import pytest
import tiny_layouts

from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.runtime.errors import UserError

CODEC = Layout(16_000, 1, (Stream("codes", 320, 4, 1024),), "beef")


def test_what_a_layout_says():
    layout = tiny_layouts.of_vqvae(44_100, 2048)
    assert layout.names == ("top", "middle", "bottom") and layout.hop_length == 128
    assert [layout.upsampling(name) for name in layout.names] == [0, 4, 4]
    assert layout.frames_per_second("bottom") == 44_100 / 8
    assert layout.bits_per_second("bottom") == pytest.approx(44_100 / 8 * 11)
    assert CODEC.bits_per_second("codes") == pytest.approx(50 * 4 * 10)
    assert [layout.padded(length) for length in (1, 128, 129)] == [128, 128, 256]
    assert str(layout.stream("middle")) == "middle below top (1 code of 2048 every 32 samples)"
    assert CODEC.in_words() == {
        "tokenizer": "beef",
        "sample rate": "16000 Hz",
        "channels": "1",
        "streams": "codes (4 codes of 1024 every 320 samples)",
    }
    part = layout.only(["bottom", "top"])
    assert part.names == ("top", "bottom") and part.stream("bottom").above == ""
    with pytest.raises(UserError, match=r"'botom' is no stream of this tokenizer; did you mean bottom\?; it has top"):
        layout.stream("botom")


@pytest.mark.parametrize("layout", [CODEC, tiny_layouts.of_vqvae()])
def test_json_and_back(layout):
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict())), "x") == layout


def test_the_description_of_version_1():
    hops = {"bottom": 8, "top": 128, "middle": 32}  # in any order
    values = {"vqvae": "f00d", "sample_rate": 1280, "num_codes": 11, "hop_lengths": hops}
    assert Layout.from_dict(values, "x") == tiny_layouts.of_vqvae()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 0}, r"x\.sample_rate is 0 and must be in \(0, 768000\]"),
        ({"channels": 2}, r"x\.channels is 2: .* mono"),
        ({"streams": []}, r"x: its streams are \[\]: they need names of their own"),
        ({"streams": [("a", 8, 1, 4, ""), ("a", 4, 1, 4, "")]}, "names of their own"),
        ({"streams": [("a/b", 8, 1, 4, "")]}, "names of their own"),
        ({"streams": [("a", 8, 1, 4, ""), ("b", 3, 1, 4, "")]}, r"hop_lengths is \{'a': 8, 'b': 3\}: each must divide"),
        ({"streams": [("a", 8, 1, 40_000, "")]}, r"num_codes is 40000 and must be in \[2, 32767\]"),
        ({"streams": [("a", 8, 0, 4, "")]}, "num_codebooks is 0"),
        ({"streams": [("a", 8, 1, 4, "b"), ("b", 4, 1, 4, "")]}, "above a is b, which is no coarser stream"),
        ({"streams": [{"name": "a"}]}, r"x\.streams\[0\] lacks hop_length"),
        ({"tiers": 3}, "x has no field tiers"),
    ],
)
def test_what_is_no_layout(change, message):
    names = ("name", "hop_length", "num_codebooks", "num_codes", "above")
    values = json.loads(json.dumps(CODEC.to_dict() | change))
    streams = [dict(zip(names, one, strict=True)) if isinstance(one, list) else one for one in values["streams"]]
    with pytest.raises(UserError, match=message):
        Layout.from_dict(values | {"streams": streams}, "x")
