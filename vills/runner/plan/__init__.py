"""What is to be computed: nodes, what has been, who is at it, what to ask for."""
