"""Snakemake wrapper for dnabert2-fast score-variants."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
model = snakemake.params.get("model", "mini")

shell(
    "dnabert2-fast score-variants {snakemake.input.variants:q}"
    " --reference {snakemake.input.reference:q} --model {model:q}"
    " --out {snakemake.output.scored:q} {extra} {log}"
)
