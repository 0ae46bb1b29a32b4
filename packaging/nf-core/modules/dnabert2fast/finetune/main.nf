process DNABERT2FAST_FINETUNE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "localhost/dnabert2-fast:0.1.0"

    input:
    tuple val(meta), path(table)
    val model

    output:
    tuple val(meta), path("${prefix}")                     , emit: run
    tuple val(meta), path("${prefix}/metrics.json")        , emit: metrics
    tuple val(meta), path("${prefix}/test_predictions.csv"), emit: predictions
    tuple val("${task.process}"), val('dnabert2-fast'), eval('dnabert2-fast --version'), emit: versions_dnabert2fast, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    dnabert2-fast finetune $model \\
        --data $table \\
        --out $prefix \\
        $args
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir $prefix
    touch $prefix/metrics.json $prefix/test_predictions.csv
    """
}
