import jax, numpy as np
from musicgen_jax.data import code_dataset, shards
def test_probe(tiny_codes, tiny_audio_dataset):
    print(jax.devices())
    for e in code_dataset.read_index(tiny_codes): print(e)
    for t in ("top","middle","bottom"):
        print(t, np.bincount(np.concatenate(code_dataset.code_sequences(tiny_codes,"train",t)), minlength=16))
    print(shards.split_sizes(tiny_audio_dataset), shards.read_metadata(tiny_codes))
