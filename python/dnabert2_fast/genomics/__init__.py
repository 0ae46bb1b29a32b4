"""What a trained encoder is for: vectors of sequences."""
