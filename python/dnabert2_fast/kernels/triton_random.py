"""Dropout masks on the device: a function of a seed and a position, so that no mask is stored."""

import triton
import triton.language as tl

__all__ = ["kept"]


@triton.jit
def kept(seed, a, b, c, dropout_p):
    """Return whether the elements at positions (a, b, c) are kept; the three have one shape.

    Philox (Salmon et al. 2011), one random number per element.
    """
    draws, _, _, _ = tl.philox(
        seed, a.to(tl.uint32), b.to(tl.uint32), c.to(tl.uint32), (c * 0).to(tl.uint32)
    )
    return tl.uint_to_uniform_float(draws) >= dropout_p
