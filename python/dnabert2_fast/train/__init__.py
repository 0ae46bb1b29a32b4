"""Pre-training on corpora and fine-tuning on labelled tables."""
