"""Calls that go on after their request was answered: the protocol's extension for tasks."""
