"""Makes the modules beside it importable by every test: `golden_cases` (reference vectors), `estimator_inputs` (random batches).

pytest puts the folder of a conftest on the module path.
"""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("hierlab", deadline=None)  # the first call of a test pays for what later ones find ready
settings.load_profile("hierlab")
