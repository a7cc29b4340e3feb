"""The shared encoder, the resampler and their heads (paper section 3.2)."""
