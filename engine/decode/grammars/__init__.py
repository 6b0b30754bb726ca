"""What an answer may be, written as a grammar."""
