"""Parts that every package uses and none exports.

Whole-or-absent files, Arrow arrays, strict JSON, progress bars, the table of extras, lazy package
attributes, and what stopped work resumes from.
"""

__all__: list[str] = []
