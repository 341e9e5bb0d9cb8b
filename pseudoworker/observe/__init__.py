"""What a running process shows: metrics, a status page, words for the service manager."""
