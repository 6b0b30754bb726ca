"""How agent hosts are told to start this server: a row a host, and what is pasted into it."""
