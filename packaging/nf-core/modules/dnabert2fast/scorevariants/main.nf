process DNABERT2FAST_SCOREVARIANTS {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "localhost/dnabert2-fast:0.1.0"

    input:
    tuple val(meta), path(vcf)
    tuple val(meta2), path(fasta)
    val model

    output:
    tuple val(meta), path("${prefix}.vcf.gz"), emit: vcf
    tuple val("${task.process}"), val('dnabert2-fast'), eval('dnabert2-fast --version'), emit: versions_dnabert2fast, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}.scored"
    if ("$vcf" == "${prefix}.vcf.gz") {
        error("Input and output names are the same, set prefix in module configuration")
    }
    """
    dnabert2-fast score-variants $vcf \\
        --reference $fasta \\
        --model $model \\
        --out ${prefix}.vcf.gz \\
        $args
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}.scored"
    """
    echo "" | gzip > ${prefix}.vcf.gz
    """
}
