"""What a genome model has to be compared with."""
