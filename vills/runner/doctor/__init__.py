"""What will bite on this cluster, and on this machine: `vills doctor`.

Answers of tools are collected once (`answers`, `nodes`); every check is a small function from
answers to findings, so that each is tested with the words of a real cluster. Whatever cannot be
seen is `unknown` with the reason, never a crash and never `ok`.
"""
