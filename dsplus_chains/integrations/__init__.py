"""Where the chain meets what is not its own: local chat models."""
