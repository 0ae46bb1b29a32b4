"""Snakemake wrapper for dnabert2-fast embed."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
model = snakemake.params.get("model", "mini")

shell(
    "dnabert2-fast embed {snakemake.input.sequences:q} --model {model:q}"
    " --out {snakemake.output.vectors:q} {extra} {log}"
)
