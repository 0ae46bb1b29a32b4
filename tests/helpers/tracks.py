"""A bedGraph reader that checks what it reads."""

import numpy as np


def read_bedgraph(path, lengths):
    values = {name: np.full(length, np.nan) for name, length in lengths.items()}
    last = None
    for line in path.read_text().splitlines():
        name, start, end, value = line.split("\t")
        assert int(start) < int(end) <= lengths[name]
        assert np.isnan(values[name][int(start) : int(end)]).all()
        values[name][int(start) : int(end)] = float(value)
        assert last is None or last[0] != name or last[1] <= int(start)
        last = (name, int(end))
    return values
