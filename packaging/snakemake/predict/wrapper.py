"""Snakemake wrapper for dnabert2-fast predict."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")

shell(
    "dnabert2-fast predict {snakemake.input.run:q} {snakemake.input.sequences:q}"
    " --out {snakemake.output.predictions:q} {extra} {log}"
)
