process DNABERT2FAST_EMBED {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "localhost/dnabert2-fast:0.1.0"

    input:
    tuple val(meta), path(fasta)
    val model

    output:
    tuple val(meta), path("${prefix}.parquet"), emit: vectors
    tuple val("${task.process}"), val('dnabert2-fast'), eval('dnabert2-fast --version'), emit: versions_dnabert2fast, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    dnabert2-fast embed $fasta \\
        --model $model \\
        --out ${prefix}.parquet \\
        $args
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.parquet
    """
}
