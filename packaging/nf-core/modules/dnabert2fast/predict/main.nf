process DNABERT2FAST_PREDICT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "localhost/dnabert2-fast:0.1.0"

    input:
    tuple val(meta), path(fasta)
    tuple val(meta2), path(run)

    output:
    tuple val(meta), path("${prefix}.csv"), emit: predictions
    tuple val("${task.process}"), val('dnabert2-fast'), eval('dnabert2-fast --version'), emit: versions_dnabert2fast, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    dnabert2-fast predict $run $fasta \\
        --out ${prefix}.csv \\
        $args
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.csv
    """
}
