"""Many points at once: launched, looked at, tracked, and their tables."""
