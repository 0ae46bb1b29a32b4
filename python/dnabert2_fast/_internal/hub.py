"""Files from and to the Hugging Face hub, and one line for every way to fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "HubError",
    "MissingFileError",
    "fetch",
    "fetch_folder",
    "repository_of",
    "upload_folder",
]

T = TypeVar("T")

# A revision becomes part of a path; the library checks the repository's name.
REVISION = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*")


class HubError(Exception):
    """A file was not fetched; the message is one line with the remedy."""


class MissingFileError(HubError):
    """The repository has no such file, or it is not in the cache."""


def repository_of(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Return the repository and the revision of ``owner/name`` or ``owner/name@revision``.

    Raises
    ------
    HubError
        When the revision is not a name, or is given twice.

    Examples
    --------
    >>> repository_of("zhihan1996/DNABERT-2-117M@main")
    ('zhihan1996/DNABERT-2-117M', 'main')
    """
    repository, at, named = name.partition("@")
    if at and revision is not None:
        raise HubError(f"revision: given twice ({named} and {revision}). Leave one out.")
    revision = named if at else revision
    if revision is not None and not (REVISION.fullmatch(revision) and ".." not in revision):
        raise HubError(f"revision: {revision!r} is not the name of a branch, tag or commit.")
    return repository, revision


def fetch(name: str, file: str, revision: str | None = None, *, local: bool = False) -> Path:
    """Return the path of a file in the cache; download it unless it is there.

    Parameters
    ----------
    name : str
        ``owner/name``, or ``owner/name@revision``.
    file : str
    revision : str, optional
        Branch, tag or commit.
    local : bool
        Use only the cache.

    Raises
    ------
    MissingFileError
        When the repository has no such file.
    HubError
        For every other reason.
    ImportError
        When ``huggingface_hub`` is not installed.
    """
    from huggingface_hub import hf_hub_download

    repository, revision = repository_of(name, revision)
    return Path(
        _explained(
            lambda: hf_hub_download(repository, file, revision=revision, local_files_only=local),
            repository,
            revision,
        )
    )


def fetch_folder(name: str, patterns: Sequence[str]) -> Path:
    """Return the folder of a repository in the cache, with the files that match; see `fetch`."""
    from huggingface_hub import snapshot_download

    repository, revision = repository_of(name)
    return Path(
        _explained(
            lambda: snapshot_download(repository, revision=revision, allow_patterns=list(patterns)),
            repository,
            revision,
        )
    )


def upload_folder(
    folder: Path, repository: str, patterns: Sequence[str], *, private: bool = False
) -> str:
    """Store the files of a folder that match in a repository; returns its address.

    Raises
    ------
    HubError
        When the hub refuses it, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()

    def upload() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=folder,
            repo_id=repository,
            allow_patterns=list(patterns),
            commit_message="Upload a model of dnabert2-fast",
        )
        return f"{api.endpoint}/{repository}"

    return _explained(upload, repository, None)


def _explained(call: Callable[[], T], repository: str, revision: str | None) -> T:
    from huggingface_hub import errors

    # Which HTTP library there is depends on the version. Xet transfers raise RuntimeError.
    of_http = errors.HfHubHTTPError.__bases__
    failures = (*of_http, errors.EntryNotFoundError, OSError, ValueError, RuntimeError)
    try:
        return call()
    except failures as error:
        missing = isinstance(error, errors.EntryNotFoundError)
        kind = MissingFileError if missing else HubError
        raise kind(_reason(error, repository, revision)) from None


def _reason(error: Any, repository: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    # A failed download ends in "not in the cache either", caused by what failed.
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    cause = error if cause is None else cause
    status = getattr(getattr(cause, "response", None), "status_code", None)
    login = "run `hf auth login` or set HF_TOKEN"
    if isinstance(cause, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{repository}"
        return f"{status}: access is restricted. Accept the conditions on {page}, and {login}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{status}: {repository} has no revision {revision}. Check its branches and tags"
    if isinstance(cause, errors.EntryNotFoundError) and status is not None:
        return f"{status}: {repository} has no such file"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return f"{status}: no public repository {repository}. If it is private, {login}"
    if status == 429:
        return f"429: too many requests. Wait some minutes, or {login} for a higher limit"
    if status in (401, 403):
        return f"{status}: the token is missing or must not do this. To change it, {login}"
    if status is not None:
        return f"{status}: the server failed. Try again later"
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0]
