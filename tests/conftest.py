"""Makes the modules beside it importable by every test: `golden_cases` (reference vectors), `estimator_inputs` (random batches).

pytest puts the folder of a conftest on the module path.
"""

import torch

torch.set_num_threads(1)
