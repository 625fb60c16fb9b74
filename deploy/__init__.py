"""Where and with what the flows run, and the command line, which is the top of all. Nothing imports this."""
