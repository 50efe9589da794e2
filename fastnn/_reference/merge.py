"""Several values made one: side by side, added, multiplied."""

__all__ = ["add_backward", "add_forward", "concat_backward", "concat_forward", "multiply_backward", "multiply_forward"]


def concat_forward(y, *xs):
    """y = the columns of all x side by side: features of (rows, F), or steps of (B, T F).

    OUT y (rows, K), IN each x (rows, K_n); K is the sum of K_n.
    """
    start = 0
    for x in xs:
        y[..., start : start + x.shape[-1]] = x
        start += x.shape[-1]


def concat_backward(dy, *dxs):
    """dx_n = its columns of dy. IN dy (rows, K), OUT each dx (rows, K_n)."""
    start = 0
    for dx in dxs:
        dx[...] = dy[..., start : start + dx.shape[-1]]
        start += dx.shape[-1]


def add_forward(a, b, y):
    """y = a + b. IN a, b, OUT y, all of one shape."""
    y[...] = a + b


def add_backward(dy, da, db):
    """da = db = dy. IN dy, OUT da and db of its shape or None."""
    for d in (da, db):
        if d is not None:
            d[...] = dy


def multiply_forward(x, g, y):
    """y = x g, entry by entry, or row by row where g has one column. IN x (rows, F), g (rows, F or 1), OUT y."""
    y[...] = x * g


def multiply_backward(dy, x, g, dx, dg):
    """dx = dy g, dg = dy x, summed over the features where g has one column.

    IN dy, x (rows, F), g (rows, F or 1). OUT dx and dg of their shapes or None.
    """
    if dx is not None:
        dx[...] = dy * g
    if dg is not None:
        d = dy * x
        dg[...] = d if g.shape == x.shape else d.sum(axis=-1, keepdims=True)
