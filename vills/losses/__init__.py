"""Losses of eq. 8 to 12 and of fine-tuning: raw fp32 scalars, equal for any number of processes."""
