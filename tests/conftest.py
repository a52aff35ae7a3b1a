"""One thread, fixed hypothesis settings, and shapes checked in every call of `derived`."""

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# Every function of `derived` checks the shapes in its signature while the tests run.
install_import_hook("derived", "beartype.beartype")

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.load_profile("ci")
