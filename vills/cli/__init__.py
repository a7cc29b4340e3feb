"""The `vills` command."""


def main() -> int:
    """Placeholder until the sub-commands stand."""
    return 0
