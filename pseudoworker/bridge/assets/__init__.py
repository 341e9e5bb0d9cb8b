"""Assets: what a job needs goes to the slave, what it made comes to the master, each once."""
