"""Stopping a run at a chosen call, so that tests can let it go on."""


def stop_after(monkeypatch, owner, name, limit, error):
    """Let ``owner.name`` raise `error` after so many calls; returns a list that grows with each."""
    real, calls = getattr(owner, name), []

    def counted(*given):
        calls.append(1)
        if len(calls) > limit:
            raise error
        return real(*given)

    monkeypatch.setattr(owner, name, counted)
    return calls
