"""What a client asks of the openQA that runs the jobs, the slave."""
