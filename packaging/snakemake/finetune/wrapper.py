"""Snakemake wrapper for dnabert2-fast finetune."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
model = snakemake.params.get("model", "mini")

shell(
    "dnabert2-fast finetune {model:q} --data {snakemake.input.data:q}"
    " --out {snakemake.output.run:q} {extra} {log}"
)
