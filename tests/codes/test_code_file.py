"""The file of codes: what is written is read, it is as small as promised, and damage is told."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
import tiny_layouts

from musicgen_jax.codes import code_file
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.runtime.errors import UserError


def recording(num_codes: int = 2048, top_codes: int = 1000) -> code_file.Recording:
    rng = np.random.default_rng(num_codes)
    lengths = {"top": top_codes, "middle": 4 * top_codes, "bottom": 16 * top_codes}
    codes = {tier: rng.integers(0, num_codes, (length, 1)).astype(np.int16) for tier, length in lengths.items()}
    layout = tiny_layouts.of_vqvae(44100, num_codes, "0123456789abcdef")
    return code_file.Recording(layout, 128 * top_codes - 77, codes)


def equal(a: code_file.Recording, b: code_file.Recording) -> bool:
    facts = [{**dataclasses.asdict(item), "codes": None} for item in (a, b)]
    return facts[0] == facts[1] and all(np.array_equal(a.codes[tier], b.codes[tier]) for tier in a.codes | b.codes)


@pytest.fixture
def path(tmp_path):
    code_file.write(tmp_path / "x.codes", recording())
    return tmp_path / "x.codes"


@pytest.mark.parametrize("bits", [1, 3, 8, 11, 15])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 1001])
def test_packed_codes_are_the_binary_digits_in_order(bits, length):
    codes = np.random.default_rng(length).integers(0, 2**bits, length).astype(np.int16)
    packed = code_file.pack(codes, bits)
    digits = "".join(f"{code:0{bits}b}" for code in codes)
    digits += "0" * (-len(digits) % 8)
    assert packed == int(digits, 2).to_bytes(len(digits) // 8, "big")
    np.testing.assert_array_equal(code_file.unpack(packed, length, bits), codes)


@pytest.mark.parametrize("num_codes", [2, 16, 1000, 2048, 32767])
def test_what_is_written_is_read(tmp_path, num_codes):
    for top_codes in (1, 5, 5000):  # the last has more codes of the bottom tier than are packed at a time
        wanted = recording(num_codes, top_codes)
        code_file.write(tmp_path / "x.codes", wanted)
        found = code_file.read(tmp_path / "x.codes")
        assert equal(found, wanted) and found.finest == "bottom"
        assert all(codes.dtype == np.int16 for codes in found.codes.values())


def test_a_code_takes_11_bits_of_the_file_at_2048_codes(path):
    num_codes = sum(map(len, recording().codes.values()))
    header = 600  # bytes of JSON, and 16 of framing
    assert num_codes * 11 / 8 < path.stat().st_size < num_codes * 11 / 8 + header


def test_the_layout_is_as_documented(path):
    content = path.read_bytes()
    assert content[:8] == b"MGCODES\x02"
    size = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + size])
    assert header == {
        "layout": tiny_layouts.of_vqvae(44100, 2048, "0123456789abcdef").to_dict(), "num_samples": 127923,
        "lengths": {"top": 1000, "middle": 4000, "bottom": 16000},
    }  # fmt: skip
    assert int.from_bytes(content[-4:], "little") == zlib.crc32(content[:-4])
    second = int.from_bytes(content[12 + size : 12 + size + 4], "big") >> 10 & 0x7FF  # bits 11 to 21
    assert second == recording().codes["top"][1, 0]


def older(path) -> None:
    """Makes version 1 of a file."""
    content = path.read_bytes()
    size = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + size])
    layout = header.pop("layout")
    header |= {"vqvae": layout["fingerprint"], "sample_rate": layout["sample_rate"], "num_codes": 2048}
    header["hop_lengths"] = {stream["name"]: stream["hop_length"] for stream in layout["streams"]}
    write_with_header(path, json.dumps(header).encode(), content[12 + size : -4], version=1)


def test_version_1_is_read(path):
    older(path)
    assert equal(code_file.read(path), recording())


def test_several_codebooks_of_which_a_file_may_have_the_first(tmp_path):
    rng = np.random.default_rng(0)
    for num_codebooks in (4, 2):
        stream = Stream("codes", 320, num_codebooks, 1024)
        codes = {"codes": rng.integers(0, 1024, (50, num_codebooks)).astype(np.int16)}
        wanted = code_file.Recording(Layout(16_000, 1, (stream,), "beef"), 15_900, codes)
        path = tmp_path / f"{num_codebooks}.codes"
        code_file.write(path, wanted)
        assert equal(code_file.read(path), wanted)
        codec = Layout(16_000, 1, (Stream("codes", 320, 4, 1024),), "beef")
        code_file.require_fit(code_file.read(path), codec, path)


def test_a_file_with_some_of_the_tiers(tmp_path):
    whole = recording()
    part = dataclasses.replace(whole, layout=whole.layout.only(["top"]), codes={"top": whole.codes["top"]})
    code_file.write(tmp_path / "x.codes", part)
    assert equal(code_file.read(tmp_path / "x.codes"), part) and part.finest == "top"


def test_every_cut_is_told(path):
    content = path.read_bytes()
    for length in (0, 5, 9, 20, 200, 1000, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is not a file of codes" if length < 7 else "truncated"):
            code_file.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="damaged: it has 29"):
        code_file.read(path)


def test_every_flipped_byte_is_told(path):
    content = path.read_bytes()
    for position in [*range(300), *range(300, len(content), 1000), len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 0x41
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|truncated|is not a file of codes|version"):
            code_file.read(path)


def write_with_header(path, header: bytes, codes: bytes = b"", version: int = code_file.VERSION) -> None:
    """A file of these bytes with the right magic, sizes and checksum."""
    content = code_file.OPENING.pack(code_file.MAGIC, version, len(header)) + header + codes
    path.write_bytes(content + zlib.crc32(content).to_bytes(4, "little"))


@pytest.mark.parametrize("header", [b"[]", b"{}", b'"text"', b"\xff\xfe", b'{"sample_rate": 1}', b"[" * 10_000])
def test_a_header_that_is_none(tmp_path, header):
    write_with_header(tmp_path / "x.codes", header)
    with pytest.raises(UserError, match=r"x\.codes: damaged: header"):
        code_file.read(tmp_path / "x.codes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 1}, r"header\.sample_rate is 1 and must be in \[2000, 768000\] Hz"),
        ({"sample_rate": 10**9}, r"header\.sample_rate is 1000000000"),
        ({"sample_rate": "44100"}, r"header\.sample_rate is '44100' and must be a whole number"),
        ({"num_codes": 1, "lengths": {"top": 10**9}}, r"header\.num_codes is 1 and must be in \[2, 32767\]"),
        ({"num_codes": -4}, r"header\.num_codes is -4"),
        ({"num_codes": 2**40}, r"header\.num_codes is 1099511627776"),
        ({"num_samples": 10**9}, r"num_samples is 1000000000 and must be in \(0, 128000\]"),
        ({"num_samples": -1}, r"num_samples is -1"),
        ({"lengths": {}}, r"header\.lengths is \{\}"),
        ({"lengths": {"x": 1}}, r"header\.lengths is \{'x': 1\} and must have positive numbers of tiers"),
        ({"lengths": {"middle": 4000, "top": 1000, "bottom": 16000}}, "coarse to fine"),
        ({"lengths": {"top": 1000, "middle": 4000, "bottom": -1}}, r"header\.lengths is"),
        ({"lengths": {"top": 1000, "middle": 4000, "bottom": 15999}}, "its tiers differ in length"),
        ({"lengths": {"top": 2**62, "middle": 2**62, "bottom": 2**62}}, "its tiers differ in length"),
        ({"hop_lengths": {"top": 128, "middle": 32}}, r"header\.lengths is"),
        ({"hop_lengths": {"top": 128, "middle": 48, "bottom": 8}}, "each must divide that of the tier above"),
        ({"hop_lengths": {"top": 8, "middle": 8, "bottom": 8}}, "each must divide that of the tier above"),
        ({"hop_lengths": [1, 2, 3]}, r"header\.hop_lengths is \[1, 2, 3\]"),
        ({"seconds": 3}, "header has the fields .*seconds, and not vqvae, sample_rate"),
    ],
)
def test_a_header_that_contradicts_itself(path, change, message):
    older(path)
    content = path.read_bytes()
    size = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + size]) | change
    write_with_header(path, json.dumps(header).encode(), content[12 + size : -4], version=1)
    with pytest.raises(UserError, match=message):
        code_file.read(path)


def test_a_header_that_promises_more_than_there_is_costs_nothing(tmp_path):
    lengths = {"top": 10**15, "middle": 4 * 10**15, "bottom": 16 * 10**15}
    header = {"vqvae": "x", "sample_rate": 44100, "num_samples": 128 * 10**15, "num_codes": 2, "lengths": lengths}
    header["hop_lengths"] = {"top": 128, "middle": 32, "bottom": 8}
    write_with_header(tmp_path / "x.codes", json.dumps(header).encode(), b"\0" * 100, version=1)
    with pytest.raises(UserError, match="bytes where its header promises 2625000000000"):
        code_file.read(tmp_path / "x.codes")
    (tmp_path / "x.codes").write_bytes(code_file.OPENING.pack(code_file.MAGIC, 1, 2**17) + b"\0" * 2**18)
    with pytest.raises(UserError, match="its header has 131072 bytes"):
        code_file.read(tmp_path / "x.codes")


def test_codes_beyond_the_codebook_are_told(path):
    older(path)
    content = path.read_bytes()
    size = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + size]) | {"num_codes": 1500}  # of 11 bits as 2048
    write_with_header(path, json.dumps(header).encode(), content[12 + size : -4], version=1)
    with pytest.raises(UserError, match=r"codes of the top tier lie outside of \[0, 1500\)"):
        code_file.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layout": tiny_layouts.of_vqvae(16000)},
            r"sample rate: 16000 Hz, and the tokenizer that it names makes 44100 Hz",
        ),
        (
            {"layout": tiny_layouts.of_vqvae(44100, 1024)},
            r"streams: top \(1 code of 1024 every .*, and .* makes top \(1 code of 2048 every",
        ),
        ({"num_samples": 60000}, r"samples that the codes cover: 128000, and .* makes 60032"),
    ],
)
def test_a_file_must_be_what_its_tokenizer_writes(change, message):
    layout = recording().layout
    code_file.require_fit(recording(), layout, "x.codes")
    with pytest.raises(UserError, match=r"x\.codes: damaged: " + message):
        code_file.require_fit(dataclasses.replace(recording(), **change), layout, "x.codes")


def test_another_version_another_kind_of_file_or_none(path, tmp_path):
    path.write_bytes(b"MGCODES\x03" + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="format version 3; this program reads versions 1 to 2"):
        code_file.read(path)
    (tmp_path / "x.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(ValueError, match="is not a file of codes"):
        code_file.read(tmp_path / "x.wav")
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file of codes"):
            code_file.read(absent)


def test_codes_that_do_not_fit_are_not_written(tmp_path):
    whole = recording(num_codes=100)
    for change, message in (
        ({"layout": tiny_layouts.of_vqvae(44100, 50)}, r"outside of \[0, 50\)"),
        ({"num_samples": 128 * 1000 + 1}, "1000 codes of the top tier are 128000 samples; the recording has 128001"),
        ({"num_samples": 0}, "the recording has 0"),
    ):
        with pytest.raises(ValueError, match=message):
            code_file.write(tmp_path / "x.codes", dataclasses.replace(whole, **change))


def test_a_new_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "x"
    with pytest.raises(KeyboardInterrupt), code_file.new_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with code_file.new_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]
    with code_file.new_file(path.parent / ("n" * 255)):  # as long as a name may be
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError), code_file.new_file(tmp_path / "file" / "x"):
        pytest.fail("the work began though its result has no place")
    with pytest.raises(ValueError, match="exists already: remove it or choose another out"):
        code_file.new_file(path).__enter__()
