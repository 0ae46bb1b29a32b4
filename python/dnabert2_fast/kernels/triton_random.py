"""Dropout masks on the device: a function of a seed and a place, so that none is ever stored."""

import triton
import triton.language as tl

__all__ = ["kept"]


@triton.jit
def kept(seed, a, b, c, dropout_p):
    """Return whether the elements at places (a, b, c) stay; the three have one shape.

    Philox (Salmon et al. 2011), one draw an element.
    """
    draws, _, _, _ = tl.philox(
        seed, a.to(tl.uint32), b.to(tl.uint32), c.to(tl.uint32), (c * 0).to(tl.uint32)
    )
    return tl.uint_to_uniform_float(draws) >= dropout_p
