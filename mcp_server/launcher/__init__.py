"""Whoever launched this server: what comes from it, what goes to it, whether it is still there."""
