"""What flags and Python arguments choose from; here, because flags are defined before anything heavy is imported."""

MODES = (
    "ancestral",  # from nothing: top -> middle -> bottom
    "continue",  # every tier goes on from the prompt's own codes; the result begins with the prompt
    "primed",  # the top tier goes on from the prompt; the finer tiers are new from the beginning on
    "upsample",  # the coarsest tier is the prompt's, for the whole length; the finer ones are new
)
SAMPLERS = (
    "autoregressive",  # code after code
    "diffusion",  # all codes of a window in `steps` parallel steps, for the tiers whose model is a diffusion model
)
CACHE_DTYPES = ("compute", "int8")  # of keys and values: as they are computed, or rounded (kv_cache.QuantizedCache)
IMPORTANCES = ("gradient", "attention")  # by which attention heads are judged: see compression.pruning
