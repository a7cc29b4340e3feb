"""Retrieval: features, distances, ranking, metrics and protocols beside baselines.

Floor: above models and losses, below train. It knows networks and data, no optimizer.
"""
