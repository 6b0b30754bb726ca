"""The family /responses: items in, items out, stateless: nothing is stored."""
