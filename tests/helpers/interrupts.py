"""Stop a run at a chosen call, so that tests can resume it."""


def stop_after(monkeypatch, owner, name, limit, error):
    """Let ``owner.name`` raise `error` after `limit` calls; returns the list of its calls."""
    real, calls = getattr(owner, name), []

    def counted(*given):
        calls.append(1)
        if len(calls) > limit:
            raise error
        return real(*given)

    monkeypatch.setattr(owner, name, counted)
    return calls
