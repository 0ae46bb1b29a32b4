"""Which tests need parts of Hugging Face `tokenizers` that its version 1.0 does not have."""

from importlib.util import find_spec

import pytest

REASON = "tokenizers 1.0 returns only ids: no offsets, models, trainers, dropout, overflowing parts"
HAS_PARTS = find_spec("tokenizers.models") is not None
needs_parts = pytest.mark.skipif(not HAS_PARTS, reason=REASON)
