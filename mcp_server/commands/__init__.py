"""What the command line does: one file per family, one function per command.

A command takes the parsed arguments and the settings and returns the exit status. Results go to
stdout, everything else to stderr.
"""
