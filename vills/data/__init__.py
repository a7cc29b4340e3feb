"""Records, shards, data sets, samplers and transforms: how a person crop travels."""
