"""Parts that every package uses and none exports.

Atomic files, Arrow arrays, strict JSON, progress bars, the table of extras, lazy package
attributes, and stored results from which a stopped run resumes.
"""

__all__: list[str] = []
